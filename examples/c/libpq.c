/* libpq with a token. The settings decide how the connection logs in; where the server refuses the first token, it is
 * tried once more with a newer one.
 *
 *   libpq [CONNECTION STRING]                      such as "host=shop.postgres.database.azure.com sslmode=verify-full"
 *   libpq --service-connector [CONNECTION STRING]  the rest from Azure Service Connector's variables AZURE_POSTGRESQL_*
 */
#include <pgentra.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

static int fail(pgentra_error *error) {
  fprintf(stderr, "%s\n", pgentra_error_message(error));
  pgentra_error_free(error);
  return 1;
}

/* A member of the plan, which the caller frees; NULL where it has none. */
static const char *get(const char *plan, const char *name) {
  const char *value = NULL;
  pgentra_json_get(plan, name, &value, NULL);
  return value;
}

/* The plan's connection string, and the login beside it: what comes later wins, NULL is not given. */
static PGconn *connect_by(const char *conninfo, const char *user, const char *password) {
  const char *const keywords[] = {"dbname", "user", "password", NULL};
  const char *const values[] = {conninfo, user, password, NULL};
  return PQconnectdbParams(keywords, values, 1);
}

int main(int argc, char **argv) {
  static const char format[] = "{\"arguments\": %s, \"service_connector\": %s, \"conninfo\": true, \"config\": {}}";
  const bool uses_connector = argc > 1 && strcmp(argv[1], "--service-connector") == 0;
  /* Without an argument libpq's variables tell the server: PGHOST, PGDATABASE. */
  const char *text = argc > 1 + uses_connector ? argv[1 + uses_connector] : uses_connector ? "" : "sslmode=verify-full";
  struct timespec started;
  pgentra_provider *provider = NULL;
  pgentra_error *error = NULL;
  const char *settings = NULL, *plan = NULL, *user = NULL, *password = NULL, *newer = NULL, *explanation = NULL;
  PGconn *connection;
  clock_gettime(CLOCK_MONOTONIC, &started);

  /* The plan tells whether a token is used at all, and with which sslmode. No token is sent to a server without TLS. */
  if (pgentra_connection_read(text, "libpq", &settings, &error) != PGENTRA_OK) return fail(error);
  const size_t size = sizeof format + strlen(settings) + sizeof "false";
  char *request = malloc(size);
  if (request == NULL) return 1;
  snprintf(request, size, format, settings, uses_connector ? "true" : "false");
  if (pgentra_connection_plan(request, &plan, &error) != PGENTRA_OK) return fail(error);
  const char *conninfo = get(plan, "conninfo"), *config = get(plan, "config"), *host = get(plan, "host");
  const char *uses_entra = get(plan, "uses_entra"), *warnings = get(plan, "warnings");
  const char *source = get(plan, "user_source"), *claim = NULL;
  if (strcmp(warnings, "[]") != 0) fprintf(stderr, "%s\n", warnings);

  /* Open one provider for the whole program, and ask it at each new connection: it answers from memory while the token
   * lasts. Without a credential in `config` it uses the default chain. */
  if (strcmp(uses_entra, "true") == 0 &&
      (pgentra_provider_open(config, &provider, &error) != PGENTRA_OK ||
       pgentra_provider_login(provider, -1, &user, &password, &claim, NULL, &error) != PGENTRA_OK)) {
    return fail(error);
  }
  connection = connect_by(conninfo, user, password);

  /* A newer token may help where the server refused this one, and nowhere else. */
  if (PQstatus(connection) != CONNECTION_OK && pgentra_login_error_is_retriable(NULL, PQerrorMessage(connection)) &&
      pgentra_provider_invalidate(provider, password, -1, &newer, NULL) == PGENTRA_OK && newer != NULL) {
    PQfinish(connection);
    connection = connect_by(conninfo, user, newer);
  }
  const int failed = report("sync", connection, &started);

  /* The server's message is for its administrator; this is for the reader here. Empty where the server was not reached.
   */
  if (failed && user != NULL &&
      pgentra_login_error_explain(NULL, PQerrorMessage(connection), user, source != NULL ? source : claim,
                              newer != NULL ? newer : password, uses_connector ? NULL : host, NULL, &explanation,
                              NULL) == PGENTRA_OK) {
    fprintf(stderr, "%s\n", explanation);
  }

  PQfinish(connection);
  free(request);
  const char *const strings[] = {settings, plan,   conninfo, config,   host,  uses_entra,
                                 warnings, source, user,     password, newer, explanation};
  for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) pgentra_string_free(strings[i]);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return failed;
}
