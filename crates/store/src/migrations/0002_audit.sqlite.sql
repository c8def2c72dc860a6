CREATE TRIGGER audit_queue AFTER INSERT ON audit BEGIN
    INSERT INTO audit_unsealed (seq) VALUES (NEW.seq);
END;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'append-only: audit');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'append-only: audit');
END;
CREATE TRIGGER audit_leaves_no_update BEFORE UPDATE ON audit_leaves BEGIN
    SELECT RAISE(ABORT, 'append-only: audit_leaves');
END;
CREATE TRIGGER audit_leaves_no_delete BEFORE DELETE ON audit_leaves BEGIN
    SELECT RAISE(ABORT, 'append-only: audit_leaves');
END;
CREATE TRIGGER audit_nodes_no_update BEFORE UPDATE ON audit_nodes BEGIN
    SELECT RAISE(ABORT, 'append-only: audit_nodes');
END;
CREATE TRIGGER audit_nodes_no_delete BEFORE DELETE ON audit_nodes BEGIN
    SELECT RAISE(ABORT, 'append-only: audit_nodes');
END;
