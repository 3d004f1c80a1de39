/* libpq with a token, by pgentra_libpq.h. The settings decide how the connection logs in. If the server rejects the
 * token, the connection is tried once more with a newer one.
 *
 *   libpq [CONNECTION STRING]                      such as "host=shop.postgres.database.azure.com sslmode=verify-full"
 *   libpq --service-connector [CONNECTION STRING]  the rest from Azure Service Connector's variables AZURE_POSTGRESQL_*
 */
#include <pgentra_libpq.h>

#include "sample.h"

int main(int argc, char **argv) {
  const bool uses_connector = argc > 1 && strcmp(argv[1], "--service-connector") == 0;
  const char *text = argc > 1 + uses_connector ? argv[1 + uses_connector] : uses_connector ? "" : "sslmode=verify-full";
  const char *const names[] = {"service_connector", NULL};
  const char *const values[] = {uses_connector ? "true" : "false", NULL};
  struct timespec started;
  pgentra_error *error = NULL;
  PGconn *connection = NULL;
  char *message = NULL;
  int failed = 1;
  clock_gettime(CLOCK_MONOTONIC, &started);

  if (pgentra_libpq_connect(text, names, values, NULL, &connection, &message, &error) == PGENTRA_OK) {
    failed = report("sync", connection, &started);
  } else {
    fprintf(stderr, "%s\n", pgentra_error_message(error));
  }
  /* Warnings about the settings; after a login error, the principal, the role and what to do. */
  if (message != NULL) fprintf(stderr, "%s\n", message);

  PQfinish(connection);
  free(message);
  pgentra_error_free(error);
  pgentra_shutdown();
  return failed;
}
