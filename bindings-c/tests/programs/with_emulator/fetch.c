/* A login with a token that is fetched over HTTPS, by the configuration in the variable CONFIG. */
#include "check.h"

int main(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *user = NULL, *password = NULL;
  int64_t expires_on = 0;
  OK(pgentra_provider_open(getenv("CONFIG"), &provider, &error));
  /* Valgrind on a loaded machine can exceed the time limit of a handshake. */
  int32_t kind = PGENTRA_TIMEOUT;
  for (int attempt = 0; attempt < 5 && (kind == PGENTRA_TIMEOUT || kind == PGENTRA_NETWORK); attempt++) {
    pgentra_error_free(error);
    error = NULL;
    kind = pgentra_provider_login(provider, -1, &user, &password, NULL, &expires_on, &error);
  }
  OK(kind);
  CHECK(strlen(user) > 0 && strlen(password) > 100 && expires_on > time(NULL));
  pgentra_string_free(user);
  pgentra_string_free(password);
  pgentra_provider_close(provider);
  return finish();
}
