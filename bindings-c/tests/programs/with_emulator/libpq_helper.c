/* pgentra_libpq.h: logs in with a custom credential whose first token the server rejects, and reports what cannot be
 * tried. The arguments are a connection string, a token that the server rejects, and one that it accepts. */
#include <pgentra_libpq.h>

#include "check.h"

typedef struct tokens {
  counter requests;
  const char *const *tokens;
} tokens;

static void respond(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  tokens *t = (tokens *)user_data;
  const int number = counter_get(&t->requests);
  CHECK(wanted->size == sizeof *wanted);
  counter_add(&t->requests);
  pgentra_request_respond(request, t->tokens[number > 0], (int64_t)time(NULL) + 20, 0, NULL);
}

int main(int count, char **arguments) {
  CHECK(count == 4);
  const char *const given[] = {arguments[2], arguments[3]};
  const char *const names[] = {"config.user", "config.cache", NULL};
  const char *const values[] = {"app-mi", NULL, NULL};
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  PGconn *connection = NULL;
  char *message = NULL;
  tokens t;
  counter_init(&t.requests);
  t.tokens = given;
  OK(pgentra_credential_callback("Mine", respond, &t, NULL, &credential, &error));
  OK(pgentra_libpq_connect(arguments[1], names, values, credential, &connection, &message, &error));
  CHECK(PQstatus(connection) != CONNECTION_OK && message != NULL);
  /* A token that was fetched just now is not replaced, so the login error stays and is explained. */
  CHECK(strstr(message, "Role tried: 'app-mi'") != NULL && counter_get(&t.requests) == 1);
  PQfinish(connection);
  free(message);
  /* Past a tenth of its lifetime it is. */
  const struct timespec age = {2, 300 * 1000 * 1000};
  nanosleep(&age, NULL);
  OK(pgentra_libpq_connect(arguments[1], names, values, credential, &connection, &message, &error));
  if (PQstatus(connection) != CONNECTION_OK) fprintf(stderr, "%s\n%s\n", PQerrorMessage(connection), message);
  CHECK(PQstatus(connection) == CONNECTION_OK && message == NULL && counter_get(&t.requests) == 2);
  CHECK(strcmp(PQuser(connection), "app-mi") == 0 && PQsslInUse(connection) == 1);
  PQfinish(connection);

  /* Without an attempt, outputs are unchanged. */
  PGconn *const untouched = connection = NULL;
  const char *const unknown[] = {"no_such_option", NULL}, *const yes[] = {"true", NULL};
  FAILS(PGENTRA_INVALID_CONFIGURATION,
        pgentra_libpq_connect("host=localhost", unknown, yes, NULL, &connection, &message, &error));
  FAILS(PGENTRA_INSECURE_TRANSPORT,
        pgentra_libpq_connect("host=db.example sslmode=disable", NULL, NULL, NULL, &connection, NULL, &error));
  FAILS(PGENTRA_INVALID_CONNECTION, pgentra_libpq_connect("host", NULL, NULL, NULL, &connection, &message, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_libpq_connect("host=localhost", NULL, NULL, NULL, NULL, &message, &error));
  CHECK(connection == untouched && message == NULL);

  /* A password in the settings is used, with a warning. */
  OK(pgentra_libpq_connect("host=localhost port=1 user=app password=mine", NULL, NULL, NULL, &connection, &message,
                           &error));
  CHECK(PQstatus(connection) != CONNECTION_OK && message != NULL && strstr(message, "Entra is not used") != NULL);
  CHECK(strstr(message, "mine") == NULL);
  PQfinish(connection);
  free(message);
  pgentra_credential_close(credential);
  return finish();
}
