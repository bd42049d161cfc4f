-- The secret part of the link by which a customer follows an order: 16 random bytes, made by the
-- order service. Null for orders of earlier releases, and once the personal data is erased: these
-- have no link. Not indexed, because the link has the order's number too.
ALTER TABLE orders ADD COLUMN tracking_token bytea;
