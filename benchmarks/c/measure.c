/* Nanoseconds of a warm pgentra_provider_get() with its pgentra_string_free(), on one thread and on two at once, as a
 * line of JSON. The token has 2 kB, as Entra's do. */
#define _POSIX_C_SOURCE 200809L
#include <pgentra.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALLS 2000000
#define SIZE 2048

static pgentra_provider *provider;

static void *run(void *unused) {
  for (int call = 0; call < CALLS; call++) {
    const char *token = NULL;
    if (pgentra_provider_get(provider, -1, &token, NULL) != PGENTRA_OK) abort();
    pgentra_string_free(token);
  }
  return unused;
}

static double nanoseconds(void *(*work)(void *), int threads) {
  struct timespec begin, end;
  pthread_t others[8];
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 1; i < threads; i++) pthread_create(&others[i], NULL, work, NULL);
  work(NULL);
  for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &end);
  return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / CALLS;
}

int main(void) {
  static char config[SIZE + 256], token[SIZE + 1];
  pgentra_error *error = NULL;
  memset(token, 'x', SIZE);
  snprintf(config, sizeof config,
           "{\"credential\": {\"type\": \"static_token\", \"token\": \"%s\", \"expires_on\": 4000000000}, "
           "\"environment\": {}}",
           token);
  if (pgentra_provider_open(config, &provider, &error) != PGENTRA_OK) {
    fprintf(stderr, "%s\n", pgentra_error_message(error));
    return 1;
  }
  run(NULL);
  const double one = nanoseconds(run, 1), two = nanoseconds(run, 2);
  printf("{\"ns\": %.1f, \"ns_on_two_threads\": %.1f}\n", one, two);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return 0;
}
