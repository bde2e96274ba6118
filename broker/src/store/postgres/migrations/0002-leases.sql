-- Who works on which delivery just now: never durable, not on the standby, empty after a crash of the database.
CREATE UNLOGGED TABLE lease (
    packet bytea NOT NULL,
    agency text NOT NULL,
    token bytea UNIQUE,
    owner integer NOT NULL,
    since_ms bigint NOT NULL,
    until_ms bigint NOT NULL,
    attempts integer NOT NULL,
    aside_until_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (packet, agency)
);
