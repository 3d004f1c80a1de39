/* A program that ends in the middle of everything: at once, and in order. */
#include <unistd.h>

#include "check.h"

static pgentra_provider *provider;

/* Never answers, and is still at it when the program ends. */
static void ask(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)request, (void)wanted;
  counter_add((counter *)user_data);
  for (;;) pause();
}

static void done(void *user_data, const pgentra_outcome *outcome) { (void)user_data, (void)outcome; }

static void at_exit(void) {
  pgentra_error *error = NULL;
  const char *json = NULL;
  OK(pgentra_stats(&json, &error));
  pgentra_string_free(json);
  pgentra_provider_close(provider);
}

int main(void) {
  static counter asked;
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  counter_init(&asked);
  CHECK(atexit(at_exit) == 0);
  OK(pgentra_credential_callback("Slow", ask, &asked, NULL, &credential, &error));
  OK(pgentra_provider_open_with(HOST_CONFIG, credential, &provider, &error));
  OK(pgentra_provider_get_async(provider, -1, done, NULL, NULL, &error));
  counter_wait(&asked, 1);
  alarm(LIMIT_S);
  return 0;
}
