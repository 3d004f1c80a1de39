/* Nanoseconds of a warm pgentra_provider_get() with its pgentra_string_free(), on one thread and beside another one
 * that does the same, as a line of JSON: the median of many batches, most of which nothing interrupts. The token has 2
 * kB, as Entra's do. */
#define _POSIX_C_SOURCE 200809L
#include <pgentra.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCHES 200
#define CALLS 10000
#define SIZE 2048

static pgentra_provider *provider;

static double times[BATCHES];
static volatile bool over;

static void get(int calls) {
  for (int call = 0; call < calls; call++) {
    const char *token = NULL;
    if (pgentra_provider_get(provider, -1, &token, NULL, NULL) != PGENTRA_OK) abort();
    pgentra_string_free(token);
  }
}

static void *get_until_over(void *unused) {
  while (!over) get(CALLS);
  return unused;
}

static int by_time(const void *one, const void *other) {
  const double difference = *(const double *)one - *(const double *)other;
  return (difference > 0) - (difference < 0);
}

static double nanoseconds(void) {
  struct timespec begin, end;
  for (int batch = 0; batch < BATCHES; batch++) {
    clock_gettime(CLOCK_MONOTONIC, &begin);
    get(CALLS);
    clock_gettime(CLOCK_MONOTONIC, &end);
    times[batch] = ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / CALLS;
  }
  qsort(times, BATCHES, sizeof *times, by_time);
  return times[BATCHES / 2];
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
  get(CALLS);
  const double alone = nanoseconds();
  pthread_t other;
  if (pthread_create(&other, NULL, get_until_over, NULL) != 0) return 1;
  const double beside = nanoseconds();
  over = true;
  pthread_join(other, NULL);
  printf("{\"ns\": %.1f, \"ns_on_two_threads\": %.1f}\n", alone, beside);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return 0;
}
