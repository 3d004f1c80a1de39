/* Connection settings and plans: ownership, invalid arguments, the environment of the process. tests/vectors contains
 * the rules. */
#include "check.h"

static int32_t read_libpq(const char *text, const char **settings, pgentra_error **error) {
  return pgentra_connection_read(text, NULL, settings, error);
}

static int32_t get_host(const char *json, const char **value, pgentra_error **error) {
  return pgentra_json_get(json, "host", value, error);
}

/* Functions with a string as argument and as result. */
static void invalid_arguments(void) {
  static int32_t (*const functions[])(const char *, const char **, pgentra_error **) = {
      read_libpq,
      pgentra_connection_plan,
      get_host,
  };
  pgentra_error *error = NULL;
  const char *out = "untouched";
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    FAILS(PGENTRA_INVALID_ARGUMENT, functions[i](NULL, &out, &error));
    FAILS(PGENTRA_INVALID_ARGUMENT, functions[i]("\xc3\x28", &out, &error));
    FAILS(PGENTRA_INVALID_ARGUMENT, functions[i]("{}", NULL, &error));
    CHECK(functions[i](NULL, NULL, NULL) == PGENTRA_INVALID_ARGUMENT);
  }
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_connection_read("host=db", "odbc", &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_connection_read("host=db", "\xff", &out, &error));
  FAILS(PGENTRA_INVALID_CONNECTION, pgentra_connection_read("host", "libpq", &out, &error));
  FAILS(PGENTRA_INVALID_CONNECTION, pgentra_connection_read("Server=db;User Id=app", NULL, &out, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_connection_plan("no JSON", &out, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_connection_plan("[]", &out, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_connection_plan("{\"hosts\": 1}", &out, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_connection_plan("{\"environment\": 1}", &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_json_get("1", "host", &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_json_get("{}", NULL, &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_connection_variables(NULL, &error));
  CHECK(strcmp(out, "untouched") == 0);
}

/* Checks that a member of a document is this text, or missing if `expected` is NULL. */
static void member_is(const char *json, const char *name, const char *expected) {
  pgentra_error *error = NULL;
  const char *found = NULL;
  OK(pgentra_json_get(json, name, &found, &error));
  if (expected == NULL || found == NULL) {
    CHECK(expected == NULL && found == NULL);
  } else {
    CHECK(strcmp(found, expected) == 0);
  }
  pgentra_string_free(found);
}

static void members(void) {
  static const char json[] = "{\"text\": \"a \\\"b\\\" \\u00e9\", \"none\": null, \"number\": 5, \"list\": [\"x\"]}";
  member_is(json, "text", "a \"b\" \xc3\xa9");
  member_is(json, "none", NULL);
  member_is(json, "missing", NULL);
  member_is(json, "number", "5");
  member_is(json, "list", "[\"x\"]");
  member_is("[\"x\", {\"a\": 1}, null]", "0", "x");
  member_is("[\"x\", {\"a\": 1}, null]", "1", "{\"a\":1}");
  member_is("[\"x\", {\"a\": 1}, null]", "2", NULL);
  member_is("[\"x\"]", "1", NULL);
  member_is("[\"x\"]", "-1", NULL);
}

static const char *plan_of(const char *request) {
  pgentra_error *error = NULL;
  const char *plan = NULL;
  OK(pgentra_connection_plan(request, &plan, &error));
  return plan;
}

/* Each of these variables changes a plan. */
static void environment_of_plans(void) {
  pgentra_error *error = NULL;
  const char *plan = NULL, *variables = NULL;
  CHECK(setenv("PGUSER", "bob", 1) == 0 && setenv("PGHOST", "db.example", 1) == 0);
  plan = plan_of("{\"conninfo\": true}");
  member_is(plan, "user", "bob");
  member_is(plan, "user_source", "PGUSER");
  member_is(plan, "host", "db.example");
  member_is(plan, "conninfo", "sslmode=require user=bob");
  pgentra_string_free(plan);
  plan = plan_of("{\"environment\": {\"PGUSER\": \"carol\"}}");
  member_is(plan, "user", "carol");
  member_is(plan, "host", NULL);
  member_is(plan, "sslmode", NULL);
  pgentra_string_free(plan);
  CHECK(setenv("PGSSLMODE", "disable", 1) == 0);
  FAILS(PGENTRA_INSECURE_TRANSPORT, pgentra_connection_plan("{}", &plan, &error));
  OK(pgentra_connection_variables(&variables, &error));
  CHECK(strstr(variables, "\"PGUSER\"") != NULL && strstr(variables, "\"PGSSLMODE\"") != NULL);
  pgentra_string_free(variables);
  CHECK(unsetenv("PGUSER") == 0 && unsetenv("PGHOST") == 0 && unsetenv("PGSSLMODE") == 0);
}

/* A provider from the variables of Service Connector in the environment of the process. */
static void service_connector(void) {
  static const char request[] = "{\"service_connector\": true, \"conninfo\": true, \"config\": {}}";
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *plan = NULL, *config = NULL, *stats = NULL;
  FAILS(PGENTRA_INVALID_CONNECTION, pgentra_connection_plan(request, &plan, &error));
  CHECK(setenv("AZURE_POSTGRESQL_CONNECTIONSTRING",
               "dbname=shop host=db.example port=5432 sslmode=verify-full user=aad_shop", 1) == 0);
  CHECK(setenv("AZURE_POSTGRESQL_CLIENTID", "11111111-0000-0000-0000-000000000001", 1) == 0);
  plan = plan_of(request);
  member_is(plan, "uses_entra", "true");
  member_is(plan, "user", "aad_shop");
  member_is(plan, "conninfo", "dbname=shop host=db.example port=5432 sslmode=verify-full user=aad_shop");
  OK(pgentra_json_get(plan, "config", &config, &error));
  OK(pgentra_provider_open(config, &provider, &error));
  OK(pgentra_provider_stats(provider, &stats, &error));
  CHECK(strstr(stats, "ManagedIdentityCredential") != NULL && strstr(stats, "\"role\":\"aad_shop\"") != NULL);
  pgentra_string_free(stats);
  pgentra_string_free(config);
  pgentra_string_free(plan);
  pgentra_provider_close(provider);
}

int main(void) {
  invalid_arguments();
  members();
  environment_of_plans();
  service_connector();
  return finish();
}
