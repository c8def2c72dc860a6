INSERT INTO machine_parts (machine, inventory, firmware)
    SELECT id, doc::json #>> '{inventory}', doc::json #>> '{firmware}' FROM machines
    WHERE doc::json #>> '{inventory}' IS NOT NULL OR doc::json #>> '{firmware}' IS NOT NULL;
UPDATE machines SET
    -- Some BMCs pad with NUL, which is no text here.
    serial = replace(doc, '\u0000', '')::json #>> '{inventory,system,serial}',
    units = GREATEST(1, COALESCE(json_array_length(doc::json #> '{inventory,gpus}'), 1));
