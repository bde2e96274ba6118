-- Rows of the store: the same ordered byte map as on one machine, and the content of large parts.
CREATE TABLE row (
    k bytea PRIMARY KEY,
    v bytea NOT NULL
);
-- Ciphertext changes nothing by being compressed; it is stored as it is.
ALTER TABLE row ALTER COLUMN v SET STORAGE EXTERNAL;

CREATE TABLE content (
    digest bytea PRIMARY KEY,
    spool bytea NOT NULL,
    length bigint NOT NULL
);
CREATE TABLE content_chunk (
    spool bytea NOT NULL,
    number integer NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (spool, number)
);
ALTER TABLE content_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- What is being written, and by whom: what a broker that died has left is swept.
CREATE TABLE content_spool (
    spool bytea PRIMARY KEY,
    owner integer NOT NULL
);
-- Finished content that no row names yet.
CREATE TABLE content_pin (
    digest bytea NOT NULL,
    spool bytea NOT NULL,
    owner integer NOT NULL,
    PRIMARY KEY (digest, spool)
);
