-- Orders as the trade sends them: optional fields, wider limits, amounts of any currency.
--
-- The new constraints are wider than those that they replace, so that every stored row satisfies
-- them: NOT VALID spares a scan of all orders, during which none could be placed. The type of an
-- amount without precision and scale needs no rewrite either.

-- The rules for optional fields, each of which may be null. They are functions, called only for rows
-- that have such a field, because every statement prepares each constraint of its table anew: as
-- fourteen constraints they would make a simple order a tenth slower.
CREATE FUNCTION are_order_fields(
    handoff text, table_label text, allergy_note text, reference text, channel text,
    external_id text, phone text, charges jsonb, amount_due numeric, items_total numeric
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(
            handoff IN ('table', 'counter', 'curbside', 'drive_through', 'courier', 'own_delivery'),
            true)
        AND coalesce(char_length(table_label) BETWEEN 1 AND 20, true)
        AND coalesce(char_length(allergy_note) BETWEEN 1 AND 200, true)
        AND coalesce(char_length(reference) BETWEEN 1 AND 64, true)
        AND coalesce(channel ~ '^[a-z0-9_.-]{1,32}$', true)
        AND coalesce(char_length(external_id) BETWEEN 1 AND 128, true)
        AND (channel IS NULL) = (external_id IS NULL)
        AND coalesce(char_length(phone) BETWEEN 1 AND 40, true)
        AND (charges IS NULL OR (jsonb_typeof(charges) = 'array' AND items_total IS NOT NULL))
        AND coalesce(amount_due BETWEEN 0 AND 1e12, true)
        AND coalesce(items_total BETWEEN -1e12 AND 1e12, true);
END
$$;

CREATE FUNCTION are_item_fields(modifiers jsonb, guest text, course smallint, sku text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(jsonb_typeof(modifiers) = 'array', true)
        AND coalesce(char_length(guest) BETWEEN 1 AND 50, true)
        AND coalesce(course BETWEEN 1 AND 9, true)
        AND coalesce(char_length(sku) BETWEEN 1 AND 64, true);
END
$$;

ALTER TABLE orders
    ADD COLUMN handoff       text,
    ADD COLUMN table_label   text,
    ADD COLUMN allergy_note  text,
    ADD COLUMN reference     text,
    ADD COLUMN channel       text,
    ADD COLUMN external_id   text,
    ADD COLUMN phone         text,
    ADD COLUMN ready_at      timestamptz,
    -- A list of objects with name and amount.
    ADD COLUMN charges       jsonb,
    ADD COLUMN amount_due    numeric,
    -- What the items cost, if the order has charges; else it is total_amount.
    ADD COLUMN items_total   numeric,
    -- Of the HTTP request that placed the order.
    ADD COLUMN request_id    text,
    ADD COLUMN trace_context jsonb,

    ALTER COLUMN customer_name DROP NOT NULL,
    DROP CONSTRAINT orders_customer_name_check2,
    DROP CONSTRAINT orders_table_number_check,
    DROP CONSTRAINT orders_delivery_address_check,
    DROP CONSTRAINT orders_notes_check,
    DROP CONSTRAINT orders_total_amount_check,
    DROP CONSTRAINT table_is_for_dine_in,
    DROP CONSTRAINT address_is_for_delivery,
    DROP CONSTRAINT priority_follows_total,
    ALTER COLUMN total_amount TYPE numeric,

    ADD CONSTRAINT customer_is_named CHECK (
        customer_name IS NOT NULL OR type = 'dine_in' OR reference IS NOT NULL) NOT VALID,
    -- The application checks for letters of any script; this excludes other ASCII characters.
    ADD CONSTRAINT customer_name_is_printable CHECK (
        customer_name !~ '[\x01-\x1f!"$%*:;<=>?@[\\\]^_`{|}~\x7f]') NOT VALID,
    ADD CONSTRAINT table_number_is_short CHECK (table_number BETWEEN 1 AND 9999) NOT VALID,
    ADD CONSTRAINT delivery_address_is_short CHECK (
        char_length(delivery_address) BETWEEN 5 AND 300) NOT VALID,
    ADD CONSTRAINT notes_are_short CHECK (char_length(notes) <= 500) NOT VALID,
    ADD CONSTRAINT total_is_exact CHECK (total_amount BETWEEN 0 AND 1e12) NOT VALID,
    ADD CONSTRAINT table_is_for_dine_in CHECK (
        (type = 'dine_in') = (table_number IS NOT NULL OR table_label IS NOT NULL)
        OR (type = 'dine_in' AND handoff IS NOT DISTINCT FROM 'counter')) NOT VALID,
    ADD CONSTRAINT address_is_for_delivery CHECK (
        (type = 'delivery') = (delivery_address IS NOT NULL)
        OR (type = 'delivery' AND handoff IS NOT DISTINCT FROM 'courier')) NOT VALID,
    ADD CONSTRAINT priority_follows_items_total CHECK (
        priority = CASE WHEN coalesce(items_total, total_amount) > 100 THEN 10
                        WHEN coalesce(items_total, total_amount) >= 50 THEN 5 ELSE 1 END) NOT VALID,

    ADD CONSTRAINT optional_fields_are_valid CHECK (
        num_nonnulls(handoff, table_label, allergy_note, reference, channel, external_id, phone,
                     charges, amount_due, items_total) = 0
        OR are_order_fields(handoff, table_label, allergy_note, reference, channel, external_id,
                            phone, charges, amount_due, items_total)) NOT VALID;

ALTER TABLE order_items
    ADD COLUMN modifiers jsonb,
    ADD COLUMN guest     text,
    ADD COLUMN course    smallint,
    ADD COLUMN sku       text,

    DROP CONSTRAINT order_items_name_check,
    DROP CONSTRAINT order_items_quantity_check,
    DROP CONSTRAINT order_items_price_check,
    DROP CONSTRAINT order_items_notes_check,
    ALTER COLUMN price TYPE numeric,

    ADD CONSTRAINT name_is_short CHECK (char_length(name) BETWEEN 1 AND 120) NOT VALID,
    ADD CONSTRAINT quantity_is_small CHECK (quantity BETWEEN 1 AND 999) NOT VALID,
    ADD CONSTRAINT price_is_exact CHECK (price BETWEEN 0 AND 999999.99) NOT VALID,
    ADD CONSTRAINT notes_are_short CHECK (char_length(notes) <= 500) NOT VALID,
    ADD CONSTRAINT optional_fields_are_valid CHECK (
        num_nonnulls(modifiers, guest, course, sku) = 0
        OR are_item_fields(modifiers, guest, course, sku)) NOT VALID;

-- For lists of the orders with a reference, or from a channel; other orders are not in them.
-- Couriers say references, and people type them in either case.
CREATE INDEX orders_by_reference ON orders (lower(reference), id DESC)
    WHERE reference IS NOT NULL;
CREATE INDEX orders_by_channel ON orders (channel, status, type, id DESC)
    WHERE channel IS NOT NULL;
CREATE INDEX orders_by_external_id ON orders (external_id, id DESC) WHERE external_id IS NOT NULL;

-- Replace the texts of instructions, which may be personal, in a list of modifiers and below it.
CREATE FUNCTION erase_instructions(modifiers jsonb, placeholder text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN (
        SELECT coalesce(jsonb_agg(
            modifier
            || jsonb_build_object(
                'modifiers', erase_instructions(modifier -> 'modifiers', placeholder))
            || CASE WHEN modifier ->> 'kind' = 'instruction'
                    THEN jsonb_build_object('name', placeholder) ELSE '{}' END
            ORDER BY position), '[]')
        FROM jsonb_array_elements(modifiers) WITH ORDINALITY AS listed (modifier, position)
    );
END
$$;
