"""Query the violations of each guarantee after a fault run.

The queries read the product's tables, whose columns are part of its contract, and the tables that
the checker has loaded: what clients and subscribers received, and what was left in the queues.
"""

LOADED = """
CREATE TEMP TABLE plan (orders int, subscribers int);
CREATE TEMP TABLE subscriptions (subscriber text);
CREATE TEMP TABLE sent (key text, kind text, total numeric, items text);
CREATE TEMP TABLE acknowledged (at float, key text, number text, total numeric);
CREATE TEMP TABLE requested_moves (number text, status text);
CREATE TEMP TABLE acknowledged_moves (number text, status text);
CREATE TEMP TABLE unexpected (key text, what text);
CREATE TEMP TABLE notifications (at float, place bigint, subscriber text, number text,
                                 old_status text, new_status text);
CREATE TEMP TABLE fault_starts (at float, kind text);
CREATE TEMP TABLE fault_ends (at float, kind text);
CREATE TEMP TABLE poison (at float, body text);
CREATE TEMP TABLE exits (what text);
CREATE TEMP TABLE waiting (queue text);
CREATE TEMP TABLE dead_letters (body text, reason text);
CREATE INDEX ON notifications (number);

-- The logged moves of each order, with the status before each.
CREATE TEMP VIEW steps AS
SELECT orders.number, log.status AS new_status,
       lag(log.status) OVER life AS old_status,
       row_number() OVER life AS step
FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
WINDOW life AS (PARTITION BY log.order_id ORDER BY log.id);

-- When each order was acknowledged, and when a subscriber first received that it is ready.
CREATE TEMP VIEW lead_times AS
SELECT first_acknowledged.at AS placed, min(notifications.at) AS ready
FROM (SELECT number, min(at) AS at FROM acknowledged GROUP BY number) AS first_acknowledged
JOIN notifications
  ON notifications.number = first_acknowledged.number AND notifications.new_status = 'ready'
GROUP BY first_acknowledged.number, first_acknowledged.at;
"""

# Without this, a run in which nothing happened would pass.
INCOMPLETE = """
SELECT sent.count || ' orders of ' || coalesce(plan.orders, -1) || ', '
    || subscriptions.count || ' subscribers of ' || coalesce(plan.subscribers, -1)
FROM (SELECT count(*) FROM sent) AS sent
CROSS JOIN (SELECT count(*) FROM subscriptions) AS subscriptions
LEFT JOIN plan ON true
WHERE sent.count IS DISTINCT FROM plan.orders
   OR subscriptions.count IS DISTINCT FROM plan.subscribers
"""

# An acknowledged order is stored under its number and key, with the items that were sent.
MISSING = """
SELECT DISTINCT acknowledged.number || ' for ' || acknowledged.key
FROM acknowledged JOIN sent USING (key)
WHERE acknowledged.total IS DISTINCT FROM sent.total OR NOT EXISTS (
    SELECT FROM orders
    WHERE orders.number = acknowledged.number
      AND orders.notes = acknowledged.key
      AND orders.type = sent.kind
      AND orders.total_amount = sent.total
      AND sent.items = (
          SELECT string_agg(format('%s x %s at %s', quantity, name, price), '; ' ORDER BY id)
          FROM order_items WHERE order_id = orders.id
      )
)
"""

# Each client repeats its order for minutes until it is answered.
UNANSWERED = """
SELECT key FROM sent WHERE NOT EXISTS (SELECT FROM acknowledged WHERE acknowledged.key = sent.key)
"""

DUPLICATES = """
SELECT coalesce(notes, 'no key') || ': ' || string_agg(number, ', ') FROM orders
GROUP BY notes HAVING count(*) > 1
UNION ALL
SELECT key || ' was answered ' || string_agg(DISTINCT number, ', ') FROM acknowledged
GROUP BY key HAVING count(DISTINCT number) > 1
UNION ALL
SELECT number || ' was never sent' FROM orders
WHERE notes IS NULL OR notes NOT IN (SELECT key FROM sent)
"""

# Each day has each number from 001 on once; the day is that of the order's creation (UTC).
NUMBERS = """
WITH numbered AS (
    SELECT split_part(number, '_', 2) AS day, split_part(number, '_', 3)::int AS place FROM orders
), expected AS (
    SELECT day, generate_series(1, max(place)) AS place FROM numbered GROUP BY day
)
SELECT day || ' has no ' || place FROM expected
WHERE (day, place) NOT IN (SELECT day, place FROM numbered)
UNION ALL
SELECT day || ' has several ' || place FROM numbered GROUP BY day, place HAVING count(*) > 1
UNION ALL
SELECT number || ' was created on another day' FROM orders
WHERE split_part(number, '_', 2) <> to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD')
"""

ILLEGAL = """
SELECT number || ': ' || coalesce(old_status, 'nothing') || ' to ' || new_status FROM steps
WHERE (coalesce(old_status, 'nothing'), new_status) NOT IN (
    ('nothing', 'received'), ('received', 'cooking'), ('cooking', 'ready'),
    ('ready', 'completed'), ('received', 'cancelled'), ('cooking', 'cancelled')
)
UNION ALL
SELECT number || ' is ' || status || ', which is not its last logged status' FROM orders
WHERE status IS DISTINCT FROM (
    SELECT new_status FROM steps WHERE steps.number = orders.number ORDER BY step DESC LIMIT 1
)
"""

NOT_READY = """
SELECT number || ' is ' || status FROM orders
WHERE status NOT IN ('ready', 'completed', 'cancelled')
"""

# Only clients cancel and complete orders.
UNREQUESTED_MOVES = """
SELECT number || ' is ' || status FROM orders
WHERE status IN ('cancelled', 'completed') AND NOT EXISTS (
    SELECT FROM requested_moves
    WHERE requested_moves.number = orders.number AND requested_moves.status = orders.status
)
"""

CREDIT = """
SELECT cooked || ' cooked, ' || credited || ' credited'
FROM (SELECT count(*) AS cooked FROM steps WHERE new_status = 'ready') AS steps
CROSS JOIN (SELECT coalesce(sum(orders_processed), 0) AS credited FROM workers) AS workers
WHERE cooked <> credited
"""

# No status follows cancelled or completed, so an acknowledged one must still hold.
REVERTED = """
SELECT acknowledged_moves.number || ' was answered ' || acknowledged_moves.status
FROM acknowledged_moves
WHERE NOT EXISTS (
    SELECT FROM orders
    WHERE orders.number = acknowledged_moves.number AND orders.status = acknowledged_moves.status
)
"""

# Delivery is at least once, so updates may repeat; but the first receptions of an order's updates
# are in order, and so are the last ones. After RabbitMQ's disk was lost, all updates of an order
# are published again: from then on only the last receptions count.
OUT_OF_ORDER = """
WITH receptions AS (
    SELECT subscriber, number, step, min(at) AS at, min(place) AS first, max(place) AS last
    FROM notifications JOIN steps USING (number, old_status, new_status)
    GROUP BY subscriber, number, step
), compared AS (
    SELECT *, lag(first) OVER updates AS first_before, lag(last) OVER updates AS last_before
    FROM receptions WINDOW updates AS (PARTITION BY subscriber, number ORDER BY step)
)
SELECT DISTINCT number || ' at ' || subscriber FROM compared
WHERE last < last_before OR (first < first_before AND NOT EXISTS (
    SELECT FROM fault_starts
    WHERE fault_starts.kind LIKE 'wipe %' AND fault_starts.at < compared.at
))
"""

LOST_UPDATES = """
SELECT number || ' ' || new_status || ' at ' || subscriber
FROM steps CROSS JOIN subscriptions
WHERE old_status IS NOT NULL AND NOT EXISTS (
    SELECT FROM notifications
    WHERE notifications.number = steps.number
      AND notifications.subscriber = subscriptions.subscriber
      AND notifications.old_status = steps.old_status
      AND notifications.new_status = steps.new_status
)
"""

UNEXPLAINED_UPDATES = """
SELECT DISTINCT number || ' ' || new_status || ' at ' || subscriber FROM notifications
WHERE NOT EXISTS (
    SELECT FROM steps
    WHERE steps.number = notifications.number
      AND steps.old_status = notifications.old_status
      AND steps.new_status = notifications.new_status
)
"""

LEFT_OVER = """
SELECT 'outbox: ' || type FROM outbox
UNION ALL
SELECT queue FROM waiting
"""

UNEXPLAINED_DEAD_LETTERS = """
SELECT reason FROM dead_letters WHERE body NOT IN (SELECT body FROM poison)
"""

# Dead letters are lost with the disk too.
POISON_NOT_DEAD_LETTERED = """
SELECT body FROM poison
WHERE body NOT IN (SELECT body FROM dead_letters)
  AND NOT EXISTS (SELECT FROM fault_ends WHERE kind LIKE 'wipe %' AND fault_ends.at > poison.at)
"""

UNRECOVERED = """
SELECT kind FROM fault_ends
WHERE EXISTS (SELECT FROM acknowledged WHERE acknowledged.at >= fault_ends.at)
  AND NOT EXISTS (SELECT FROM lead_times WHERE placed >= fault_ends.at)
"""

UNEXPECTED_RESPONSES = "SELECT what || ' (' || key || ')' FROM unexpected"

UNCLEAN_EXITS = "SELECT what FROM exits"

GUARANTEES = {
    "parts of the run that did not happen": INCOMPLETE,
    "acknowledged orders missing": MISSING,
    "orders never acknowledged": UNANSWERED,
    "duplicates for a key": DUPLICATES,
    "gaps or repeats in the day's numbers": NUMBERS,
    "illegal moves": ILLEGAL,
    "orders not ready": NOT_READY,
    "acknowledged moves reverted": REVERTED,
    "moves that no client requested": UNREQUESTED_MOVES,
    "orders not counted once at a worker": CREDIT,
    "updates out of order for one order": OUT_OF_ORDER,
    "updates lost by a durable subscriber": LOST_UPDATES,
    "updates without a logged move": UNEXPLAINED_UPDATES,
    "left in the outbox or a queue": LEFT_OVER,
    "unexplained dead letters": UNEXPLAINED_DEAD_LETTERS,
    "poison messages not dead-lettered": POISON_NOT_DEAD_LETTERED,
    "responses that no fault explains": UNEXPECTED_RESPONSES,
    "faults never recovered from": UNRECOVERED,
    "services that did not stop cleanly": UNCLEAN_EXITS,
}

ORDERS = "SELECT count(DISTINCT key) FROM acknowledged"

RATE = "SELECT count(DISTINCT key) / nullif(max(at) - min(at), 0) FROM acknowledged"

STALL = """
SELECT max(pause) FROM (
    SELECT at - lag(at) OVER (ORDER BY at) AS pause FROM acknowledged
) AS pauses
"""

RESENT = "SELECT count(*) FROM order_resends"

# Seconds from a fault's end until an order placed after it was received as ready.
RECOVERY = """
WITH recovered AS (
    SELECT kind,
           (SELECT min(ready) FROM lead_times WHERE placed >= fault_ends.at) - fault_ends.at
               AS seconds
    FROM fault_ends
)
SELECT kind, count(*) AS times, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
       max(seconds) AS longest
FROM recovered WHERE seconds IS NOT NULL GROUP BY kind ORDER BY kind
"""
