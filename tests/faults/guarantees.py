"""Every promise that an evening could break, each as one query that returns the offenders.

They read the product's own tables, whose columns are in its contract, and beside them what the
checker has loaded: what people outside were told, and what was left in the queues.
"""

LOADED = """
CREATE TEMP TABLE plan     (orders int, subscribers int);
CREATE TEMP TABLE durable  (subscriber text);
CREATE TEMP TABLE asked    (key text, kind text, total numeric, items text);
CREATE TEMP TABLE told     (at float, key text, number text, total numeric);
CREATE TEMP TABLE wanted   (number text, status text);
CREATE TEMP TABLE moved    (number text, status text);
CREATE TEMP TABLE odd      (key text, what text);
CREATE TEMP TABLE heard    (at float, place bigint, subscriber text, number text,
                            old_status text, new_status text);
CREATE TEMP TABLE begun    (at float, kind text);
CREATE TEMP TABLE lifted   (at float, kind text);
CREATE TEMP TABLE poisons  (at float, body text);
CREATE TEMP TABLE exits    (what text);
CREATE TEMP TABLE waiting  (queue text);
CREATE TEMP TABLE dead     (body text, reason text);
CREATE INDEX ON heard (number);

-- The moves of an order as its log has them, each with the status that it started from.
CREATE TEMP VIEW steps AS
SELECT orders.number, log.status AS new_status,
       lag(log.status) OVER life AS old_status,
       row_number() OVER life AS step
FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
WINDOW life AS (PARTITION BY log.order_id ORDER BY log.id);

-- When each order was acknowledged, and first heard to be ready.
CREATE TEMP VIEW through AS
SELECT acknowledged.at AS placed, min(heard.at) AS ready
FROM (SELECT number, min(at) AS at FROM told GROUP BY number) AS acknowledged
JOIN heard ON heard.number = acknowledged.number AND heard.new_status = 'ready'
GROUP BY acknowledged.number, acknowledged.at;
"""

# A checker that is shown nothing finds nothing.
DID_NOT_HAPPEN = """
SELECT asked || ' orders of ' || coalesce(plan.orders, -1) || ', '
    || listening || ' subscribers of ' || coalesce(plan.subscribers, -1)
FROM (SELECT count(*) AS asked FROM asked) AS asked
CROSS JOIN (SELECT count(*) AS listening FROM durable) AS durable
LEFT JOIN plan ON true
WHERE asked IS DISTINCT FROM plan.orders OR listening IS DISTINCT FROM plan.subscribers
"""

# What is told is there: under that number, for that key, with what was asked for, at its price.
MISSING = """
SELECT DISTINCT told.number || ' for ' || told.key FROM told JOIN asked USING (key)
WHERE told.total IS DISTINCT FROM asked.total OR NOT EXISTS (
    SELECT FROM orders
    WHERE orders.number = told.number
      AND orders.notes = told.key
      AND orders.type = asked.kind
      AND orders.total_amount = asked.total
      AND asked.items = (
          SELECT string_agg(format('%s x %s at %s', quantity, name, price), '; ' ORDER BY id)
          FROM order_items WHERE order_id = orders.id
      )
)
"""

# Every customer stays until answered; one who gave up after minutes was turned away for good.
UNANSWERED = """
SELECT key FROM asked WHERE NOT EXISTS (SELECT FROM told WHERE told.key = asked.key)
"""

DUPLICATES = """
SELECT coalesce(notes, 'no key') || ': ' || string_agg(number, ', ') FROM orders
GROUP BY notes HAVING count(*) > 1
UNION ALL
SELECT key || ' was told ' || string_agg(DISTINCT number, ', ') FROM told
GROUP BY key HAVING count(DISTINCT number) > 1
UNION ALL
SELECT number || ' was never asked for' FROM orders
WHERE notes IS NULL OR notes NOT IN (SELECT key FROM asked)
"""

# From 001 on, each number of a day once; and the day is that on which the order came (UTC).
NUMBERS = """
WITH numbered AS (
    SELECT split_part(number, '_', 2) AS day, split_part(number, '_', 3)::int AS place FROM orders
), wanted AS (
    SELECT day, generate_series(1, max(place)) AS place FROM numbered GROUP BY day
)
SELECT day || ' has no ' || place FROM wanted
WHERE (day, place) NOT IN (SELECT day, place FROM numbered)
UNION ALL
SELECT day || ' has several ' || place FROM numbered GROUP BY day, place HAVING count(*) > 1
UNION ALL
SELECT number || ' came on another day' FROM orders
WHERE split_part(number, '_', 2) <> to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD')
"""

ILLEGAL = """
SELECT number || ': ' || coalesce(old_status, 'nothing') || ' to ' || new_status FROM steps
WHERE (coalesce(old_status, 'nothing'), new_status) NOT IN (
    ('nothing', 'received'), ('received', 'cooking'), ('cooking', 'ready'),
    ('ready', 'completed'), ('received', 'cancelled'), ('cooking', 'cancelled')
)
UNION ALL
SELECT number || ' is ' || status || ', which its log does not say' FROM orders
WHERE status IS DISTINCT FROM (
    SELECT new_status FROM steps WHERE steps.number = orders.number ORDER BY step DESC LIMIT 1
)
"""

NOT_READY = """
SELECT number || ' is ' || status FROM orders
WHERE status NOT IN ('ready', 'completed', 'cancelled')
"""

# People cancel, and people fetch their meals; the house does neither by itself.
UNWANTED = """
SELECT number || ' is ' || status FROM orders
WHERE status IN ('cancelled', 'completed') AND NOT EXISTS (
    SELECT FROM wanted WHERE wanted.number = orders.number AND wanted.status = orders.status
)
"""

CREDIT = """
SELECT cooked || ' cooked, ' || credited || ' credited'
FROM (SELECT count(*) AS cooked FROM steps WHERE new_status = 'ready') AS steps
CROSS JOIN (SELECT coalesce(sum(orders_processed), 0) AS credited FROM workers) AS workers
WHERE cooked <> credited
"""

# Nothing follows on a cancellation or a completion, so what was told about one must still hold.
TAKEN_BACK = """
SELECT moved.number || ' was told ' || moved.status FROM moved
WHERE NOT EXISTS (
    SELECT FROM orders WHERE orders.number = moved.number AND orders.status = moved.status
)
"""

# At least once, so an update may come again; but the first hearings of an order's updates are in
# their order, and so are the last. A disk that is lost takes updates with it, which are told again
# later, each order's story whole: from then on only the last hearings count.
OUT_OF_ORDER = """
WITH hearings AS (
    SELECT subscriber, number, step, min(at) AS at, min(place) AS first, max(place) AS last
    FROM heard JOIN steps USING (number, old_status, new_status) GROUP BY subscriber, number, step
), followed AS (
    SELECT *, lag(first) OVER story AS first_before, lag(last) OVER story AS last_before
    FROM hearings WINDOW story AS (PARTITION BY subscriber, number ORDER BY step)
)
SELECT DISTINCT number || ' at ' || subscriber FROM followed
WHERE last < last_before OR (first < first_before AND NOT EXISTS (
    SELECT FROM begun WHERE begun.kind LIKE 'wipe %' AND begun.at < followed.at
))
"""

LOST_UPDATES = """
SELECT number || ' ' || new_status || ' at ' || subscriber
FROM steps CROSS JOIN durable
WHERE old_status IS NOT NULL AND NOT EXISTS (
    SELECT FROM heard
    WHERE heard.number = steps.number AND heard.subscriber = durable.subscriber
      AND heard.old_status = steps.old_status AND heard.new_status = steps.new_status
)
"""

UNTRUE_UPDATES = """
SELECT DISTINCT number || ' ' || new_status || ' at ' || subscriber FROM heard
WHERE NOT EXISTS (
    SELECT FROM steps
    WHERE steps.number = heard.number
      AND steps.old_status = heard.old_status AND steps.new_status = heard.new_status
)
"""

LEFT_OVER = """
SELECT 'outbox: ' || type FROM outbox
UNION ALL
SELECT queue FROM waiting
"""

DEAD = """
SELECT reason FROM dead WHERE body NOT IN (SELECT body FROM poisons)
"""

# Dead letters, too, are lost with a disk.
POISON = """
SELECT body FROM poisons
WHERE body NOT IN (SELECT body FROM dead)
  AND NOT EXISTS (SELECT FROM lifted WHERE kind LIKE 'wipe %' AND lifted.at > poisons.at)
"""

UNRECOVERED = """
SELECT kind FROM lifted
WHERE EXISTS (SELECT FROM told WHERE told.at >= lifted.at)
  AND NOT EXISTS (SELECT FROM through WHERE placed >= lifted.at)
"""

ODD_ANSWERS = "SELECT what || ' (' || key || ')' FROM odd"

UNCLEAN = "SELECT what FROM exits"

GUARANTEES = {
    "parts of the evening that did not happen": DID_NOT_HAPPEN,
    "acknowledged orders missing": MISSING,
    "orders never acknowledged": UNANSWERED,
    "duplicates for a key": DUPLICATES,
    "gaps or repeats in the day's numbers": NUMBERS,
    "illegal moves": ILLEGAL,
    "orders not ready": NOT_READY,
    "acknowledged moves taken back": TAKEN_BACK,
    "moves that nobody asked for": UNWANTED,
    "orders not credited to a cook once": CREDIT,
    "updates out of order for one order": OUT_OF_ORDER,
    "updates lost by a durable subscriber": LOST_UPDATES,
    "updates that no move explains": UNTRUE_UPDATES,
    "left in the outbox or a queue": LEFT_OVER,
    "unexplained dead letters": DEAD,
    "poison not put aside": POISON,
    "answers that no fault explains": ODD_ANSWERS,
    "faults never recovered from": UNRECOVERED,
    "services that did not stop cleanly": UNCLEAN,
}

ORDERS = "SELECT count(DISTINCT key) FROM told"

RATE = "SELECT count(DISTINCT key) / nullif(max(at) - min(at), 0) FROM told"

STALL = """
SELECT max(pause) FROM (
    SELECT at - lag(at) OVER (ORDER BY at) AS pause FROM told
) AS pauses
"""

RESENT = "SELECT count(*) FROM order_resends"

# Until an order that was placed after the fault had passed was heard to be ready.
RECOVERY = """
WITH recovered AS (
    SELECT kind, (SELECT min(ready) FROM through WHERE placed >= lifted.at) - lifted.at AS seconds
    FROM lifted
)
SELECT kind, count(*) AS times, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
       max(seconds) AS longest
FROM recovered WHERE seconds IS NOT NULL GROUP BY kind ORDER BY kind
"""
