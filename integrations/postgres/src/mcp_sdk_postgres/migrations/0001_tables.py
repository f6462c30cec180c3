"""The tables of the first version. The schema is made, and searched first, by who runs this.

Plans are made while tables are empty, and kept. So no index but the right one begins with what a look-up gives: with
two that do, PostgreSQL takes either, and reads all of a scope for each entity.
"""

from yoyo import step

_TEXT = 'text COLLATE "C"'

_CLAIM = """
CREATE FUNCTION claim(seen bigint, fresh text[], rows bigint, size bigint, channel text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  newest bigint;
  edge bigint;
BEGIN
  UPDATE head SET seq = seq + rows RETURNING seq, covered INTO newest, edge;
  IF seen >= 0 AND EXISTS (
    SELECT 1 FROM log WHERE seq > seen AND seq <= newest AND (event_id = ANY (fresh) OR kind = 'forgotten')) THEN
    RAISE EXCEPTION 'another transaction came first' USING ERRCODE = 'MC001';
  END IF;
  WHILE newest + size / 2 > edge LOOP
    EXECUTE format('CREATE TABLE %I (LIKE log INCLUDING ALL)', 'log_' || edge + 1);
    EXECUTE format('ALTER TABLE log ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
      'log_' || edge + 1, edge + 1, edge + size + 1);
    INSERT INTO partitions (first, last) VALUES (edge + 1, edge + size);
    edge := edge + size;
    UPDATE head SET covered = edge, floor = greatest(floor, (
      SELECT coalesce(max(old.last), 0) FROM partitions old
      JOIN partitions next ON next.first = old.last + 1
      JOIN partitions later ON later.first = next.last + 1
      WHERE later.created_at < clock_timestamp() - interval '24 hours'));
  END LOOP;
  PERFORM pg_notify(channel, '');
  RETURN newest - rows;
END
$$
"""

steps = [
    step(
        "CREATE TABLE head (one boolean PRIMARY KEY DEFAULT true CHECK (one), identity text NOT NULL, "
        "seq bigint NOT NULL DEFAULT 0, covered bigint NOT NULL DEFAULT 0, floor bigint NOT NULL DEFAULT 0, "
        "trimmed bigint NOT NULL DEFAULT 0)"
    ),
    step("INSERT INTO head (identity) VALUES (replace(gen_random_uuid()::text, '-', ''))"),
    step(
        f"CREATE TABLE scopes (scope integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, namespace {_TEXT} NOT NULL, "
        f"environment {_TEXT} NOT NULL, UNIQUE (namespace, environment))"
    ),
    step(
        f"CREATE TABLE entities (scope integer NOT NULL, model {_TEXT} NOT NULL, entity_id {_TEXT} NOT NULL, "
        f"state {_TEXT}, attributes text NOT NULL, revision bigint NOT NULL, observed_at text, source text NOT NULL, "
        "entered_at text, changed_at timestamptz NOT NULL, PRIMARY KEY (scope, model, entity_id)) "
        "WITH (fillfactor = 80)"
    ),
    step("CREATE INDEX entities_state ON entities (state, scope, model, entity_id)"),
    step(
        "CREATE TABLE log (seq bigint PRIMARY KEY, at timestamptz NOT NULL, scope integer NOT NULL, "
        f"kind text NOT NULL, model {_TEXT}, entity_id {_TEXT}, event_id {_TEXT}, status text, revision bigint, "
        "from_state text, to_state text, attributes text, outcome text, base_revision bigint, batch_id text, "
        "observed_at text, source text, operation text, cause text, duration double precision, trace_id text, "
        "context text) PARTITION BY RANGE (seq)"
    ),
    step("CREATE INDEX log_event ON log (event_id) WHERE event_id IS NOT NULL"),
    step("CREATE INDEX log_entity ON log (entity_id, model, scope, seq) WHERE event_id IS NOT NULL"),
    step("CREATE INDEX log_notice ON log (seq) WHERE event_id IS NULL"),
    step("CREATE INDEX log_unapplied ON log (scope, model, seq) WHERE status <> 'applied'"),
    step(
        "CREATE TABLE partitions (first bigint PRIMARY KEY, last bigint NOT NULL, "
        "created_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    ),
    step(
        f"CREATE TABLE erased (event_id {_TEXT} NOT NULL, scope integer NOT NULL, status text NOT NULL, "
        "revision bigint NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (event_id, scope))"
    ),
    step(
        f"CREATE TABLE models (scope integer NOT NULL, name {_TEXT} NOT NULL, declaration text NOT NULL, "
        "PRIMARY KEY (scope, name))"
    ),
    step(
        "CREATE TABLE policies (scope integer NOT NULL, revision bigint NOT NULL, programs text NOT NULL, "
        "sources text NOT NULL, author text NOT NULL, created_at text NOT NULL, PRIMARY KEY (scope, revision))"
    ),
    step(
        "CREATE TABLE leases (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, scope integer NOT NULL, "
        f"service {_TEXT} NOT NULL, url {_TEXT} NOT NULL, endpoint text NOT NULL, until timestamptz NOT NULL, "
        "UNIQUE (scope, service, url))"
    ),
    step(
        "CREATE TABLE keys (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, scope integer NOT NULL, "
        f"kid {_TEXT} NOT NULL, secret bytea NOT NULL, UNIQUE (scope, kid))"
    ),
    step(
        f"CREATE TABLE records (scope integer NOT NULL, kind {_TEXT} NOT NULL, name {_TEXT} NOT NULL, "
        "content text NOT NULL, revision bigint NOT NULL, PRIMARY KEY (scope, kind, name))"
    ),
    step("CREATE TABLE audit (number bigint PRIMARY KEY, entry text NOT NULL)"),
    step(_CLAIM),
]
