-- Microsoft Entra roles, as in Azure Database for PostgreSQL, for a server without its extension.
-- Runs as superuser in the database postgres, in a transaction, at every start. Existing objects are kept.

-- Two emulators can share a server.
SELECT pg_advisory_xact_lock(hashtext('pgaadauth'));

CREATE SCHEMA IF NOT EXISTS pgaadauth;
REVOKE ALL ON SCHEMA pgaadauth FROM PUBLIC;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'azure_pg_admin') THEN
        CREATE ROLE azure_pg_admin NOLOGIN CREATEROLE CREATEDB;
    END IF;
END
$$;

-- The tenant's directory, in which pgaadauth_create_principal looks names up.
CREATE TABLE IF NOT EXISTS pgaadauth.principals (
    tenant text NOT NULL,
    oid text PRIMARY KEY,
    name text NOT NULL,
    type text NOT NULL
);

-- The proxy reads the labels here. The key is the role's oid, so that a renamed role keeps its label and a dropped role loses it.
-- The password is for the emulator's logins; NULL for a role that the emulator did not create.
CREATE TABLE IF NOT EXISTS pgaadauth.labels (
    role oid PRIMARY KEY,
    label text NOT NULL,
    password text
);
REVOKE ALL ON ALL TABLES IN SCHEMA pgaadauth FROM PUBLIC;
DELETE FROM pgaadauth.labels WHERE role NOT IN (SELECT oid FROM pg_catalog.pg_roles);

-- Without the extension, SECURITY LABEL is not possible, but the catalog shows the labels as on Azure: in pg_seclabels.
CREATE OR REPLACE FUNCTION pgaadauth.show_label() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM pg_shseclabel
        WHERE objoid = NEW.role AND classoid = 'pg_authid'::regclass AND provider = 'pgaadauth';
    INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
        VALUES (NEW.role, 'pg_authid'::regclass, 'pgaadauth', NEW.label);
    RETURN NULL;
END
$$;
-- An existing trigger stays: its lock on the table would wait for an emulator that waits for the lock above.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'pgaadauth.labels'::regclass AND tgname = 'show_label') THEN
        CREATE TRIGGER show_label AFTER INSERT OR UPDATE ON pgaadauth.labels
            FOR EACH ROW EXECUTE FUNCTION pgaadauth.show_label();
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION pgaadauth.label_text(object_id text, object_type text, is_admin boolean, is_mfa boolean)
RETURNS text LANGUAGE sql AS $$
    SELECT 'aadauth,oid=' || object_id || ',type=' || object_type
        || CASE WHEN is_admin THEN ',admin' ELSE '' END || CASE WHEN is_mfa THEN ',mfa' ELSE '' END
$$;

CREATE OR REPLACE FUNCTION pgaadauth.create_role(
    role_name text, object_id text, object_type text, is_admin boolean, is_mfa boolean
) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    password text := gen_random_uuid()::text || gen_random_uuid()::text;
BEGIN
    IF role_name IS NULL OR object_id IS NULL OR is_admin IS NULL OR is_mfa IS NULL THEN
        RAISE EXCEPTION 'arguments must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF object_id !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RAISE EXCEPTION 'invalid object id "%"', object_id USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF object_type IS NULL OR object_type NOT IN ('user', 'group', 'service') THEN
        RAISE EXCEPTION 'invalid object type "%", expected user, group or service', object_type
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN %s PASSWORD %L', role_name,
        CASE WHEN is_admin THEN 'CREATEROLE CREATEDB IN ROLE azure_pg_admin' ELSE '' END, password);
    -- From version 16 on, CREATEROLE alone does not allow administrators to alter or drop it.
    IF current_setting('server_version_num')::integer >= 160000 AND NOT is_admin THEN
        EXECUTE format('GRANT %I TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', role_name);
    END IF;
    INSERT INTO pgaadauth.labels
        SELECT oid, pgaadauth.label_text(object_id, object_type, is_admin, is_mfa), password
        FROM pg_roles WHERE rolname = role_name::name;
    RETURN format('Created role for %s', role_name);
END
$$;

-- Creates a role of the emulator's configuration if it is missing; an existing role only gets its label.
CREATE OR REPLACE FUNCTION pgaadauth.ensure_role(
    role_name text, object_id text, object_type text, is_admin boolean
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role pg_roles;
BEGIN
    -- Roles are also created when principals change, without the set-up above and its lock.
    PERFORM pg_advisory_xact_lock(hashtext('pgaadauth'));
    SELECT * INTO found_role FROM pg_roles WHERE rolname = role_name::name;
    IF NOT FOUND THEN
        PERFORM pgaadauth.create_role(role_name, object_id, object_type, is_admin, false);
        RETURN;
    END IF;
    IF found_role.rolsuper THEN
        RAISE EXCEPTION 'role "%" is a superuser of this server and cannot stand for a Microsoft Entra principal', role_name
            USING ERRCODE = 'reserved_name';
    END IF;
    INSERT INTO pgaadauth.labels
        VALUES (found_role.oid, pgaadauth.label_text(object_id, object_type, is_admin, false))
        ON CONFLICT (role) DO UPDATE SET label = excluded.label;
END
$$;

-- The functions below have Azure's names and signatures.

CREATE OR REPLACE FUNCTION pg_catalog.pgaadauth_create_principal_with_oid(
    roleName text, objectId text, objectType text, isAdmin boolean, isMfa boolean
) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pgaadauth.create_role(roleName, objectId, objectType, isAdmin, isMfa)
$$;

CREATE OR REPLACE FUNCTION pg_catalog.pgaadauth_create_principal(roleName text, isAdmin boolean, isMfa boolean)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_principals pgaadauth.principals[];
BEGIN
    SELECT array_agg(p) INTO found_principals FROM pgaadauth.principals p WHERE p.name = roleName;
    IF found_principals IS NULL THEN
        RAISE EXCEPTION 'Could not validate AAD user <%> because its name is not found in the tenant.', roleName;
    ELSIF cardinality(found_principals) > 1 THEN
        RAISE EXCEPTION 'Could not validate AAD user <%> because its name is not unique in the tenant.', roleName
            USING HINT = 'Use pgaadauth_create_principal_with_oid.';
    END IF;
    RETURN pgaadauth.create_role(roleName, found_principals[1].oid, found_principals[1].type, isAdmin, isMfa);
END
$$;

CREATE OR REPLACE FUNCTION pg_catalog.pgaadauth_list_principals(isAdminValue boolean)
RETURNS TABLE (rolname name, principalType text, objectId text, tenantId text, isMfa integer, isAdmin integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.rolname, substring(l.label FROM 'type=([^,]*)'), o.oid,
        coalesce(p.tenant, (SELECT min(tenant) FROM pgaadauth.principals)),
        (l.label LIKE '%,mfa')::integer, a.is_admin::integer
    FROM pgaadauth.labels l
    JOIN pg_roles r ON r.oid = l.role
    CROSS JOIN LATERAL (SELECT substring(l.label FROM 'oid=([^,]*)') AS oid) o
    CROSS JOIN LATERAL (SELECT l.label ~ ',admin(,|$)' AS is_admin) a
    LEFT JOIN pgaadauth.principals p ON p.oid = o.oid
    WHERE a.is_admin OR NOT isAdminValue
    ORDER BY r.rolname
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgaadauth FROM PUBLIC;
REVOKE ALL ON FUNCTION
    pg_catalog.pgaadauth_create_principal_with_oid(text, text, text, boolean, boolean),
    pg_catalog.pgaadauth_create_principal(text, boolean, boolean),
    pg_catalog.pgaadauth_list_principals(boolean)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    pg_catalog.pgaadauth_create_principal_with_oid(text, text, text, boolean, boolean),
    pg_catalog.pgaadauth_create_principal(text, boolean, boolean),
    pg_catalog.pgaadauth_list_principals(boolean)
TO azure_pg_admin;
