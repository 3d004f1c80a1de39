/* libpq with a token: the blocking door, and one more try where the server refuses the first token. */
#include <pgentra.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

static int fail(pgentra_error *error) {
  fprintf(stderr, "%s\n", pgentra_error_message(error));
  pgentra_error_free(error);
  return 1;
}

int main(void) {
  struct timespec started;
  pgentra_provider *provider = NULL;
  pgentra_error *error = NULL;
  const char *user = NULL, *source = NULL, *password = NULL, *newer = NULL, *explanation = NULL;
  PGconn *connection;
  int failed;
  clock_gettime(CLOCK_MONOTONIC, &started);

  /* Open one provider for the whole program. NULL is the default chain: a managed identity, or whoever is signed in. */
  if (pgentra_provider_open(NULL, &provider, &error) != PGENTRA_OK) return fail(error);

  /* Ask it at each new connection: it answers from memory while the token lasts. */
  if (pgentra_provider_login(provider, -1, &user, &password, &source, &error) != PGENTRA_OK) return fail(error);
  connection = connect_as(user, password);

  /* A newer token may help where the server refused this one, and nowhere else. */
  if (PQstatus(connection) != CONNECTION_OK && pgentra_refusal_is_retriable(NULL, PQerrorMessage(connection)) &&
      pgentra_provider_invalidate(provider, password, -1, &newer, NULL) == PGENTRA_OK && newer != NULL) {
    PQfinish(connection);
    connection = connect_as(user, newer);
  }
  failed = report("sync", connection, &started);

  /* What the server says is for its administrator; this is for whoever reads it here. Empty where it was not reached.
   */
  if (failed && pgentra_refusal_explain(NULL, PQerrorMessage(connection), user, source,
                                        newer != NULL ? newer : password, PQhost(connection), NULL, &explanation,
                                        NULL) == PGENTRA_OK) {
    fprintf(stderr, "%s\n", explanation);
  }

  PQfinish(connection);
  pgentra_string_free(explanation);
  pgentra_string_free(newer);
  pgentra_string_free(password);
  pgentra_string_free(user);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return failed;
}
