-- A shard: an empty database, the sink's account and one to look with. DROP is for `replay --empty`; TRIGGER lets the sink see
-- triggers, which it refuses; without it the server hides them.
CREATE DATABASE shop;
CREATE USER 'sluice'@'%' IDENTIFIED BY 'sluice';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, TRIGGER ON shop.* TO 'sluice'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT SELECT ON shop.* TO 'app'@'%';
