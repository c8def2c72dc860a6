INSERT INTO machine_parts (machine, inventory, firmware)
    SELECT id, json_extract(doc, '$.inventory'), json_extract(doc, '$.firmware') FROM machines
    WHERE json_extract(doc, '$.inventory') IS NOT NULL
       OR json_extract(doc, '$.firmware') IS NOT NULL;
UPDATE machines SET
    serial = json_extract(doc, '$.inventory.system.serial'),
    units = MAX(1, COALESCE(json_array_length(doc, '$.inventory.gpus'), 1));
