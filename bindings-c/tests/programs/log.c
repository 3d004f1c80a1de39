/* Log events: order, levels, replacement of the callback, finalizers. */
#include "check.h"

/* The events of a fetch that succeeds, then of one that fails. */
static const struct {
  int32_t level;
  const char *message;
} expected[] = {{PGENTRA_LOG_DEBUG, "fetch ended (credential=StaticTokenCredential"},
                {PGENTRA_LOG_DEBUG, "token fetched, expires in "},
                {PGENTRA_LOG_DEBUG, "fetch ended (credential=WorkloadIdentityCredential"},
                {PGENTRA_LOG_ERROR, "token fetch failed and no valid token is cached"}};

#define EXPECTED ((int)(sizeof expected / sizeof *expected))

typedef struct listener {
  counter events, finalized;
  /* The index in `expected` of its first event. */
  int first;
  bool busy;
} listener;

static void take(void *user_data, int32_t level, const char *target, const char *message) {
  listener *l = (listener *)user_data;
  CHECK(!l->busy);
  l->busy = true;
  CHECK(strncmp(target, "pgentra", 7) == 0 && strstr(message, TOKEN) == NULL);
  const int number = l->first + counter_get(&l->events);
  CHECK(number < EXPECTED && level == expected[number].level);
  CHECK(strstr(message, expected[number].message) == message);
  l->busy = false;
  counter_add(&l->events);
}

static void finalize(void *user_data) { counter_add(&((listener *)user_data)->finalized); }

static void listener_init(listener *l, int first) {
  memset(l, 0, sizeof *l);
  l->first = first;
  counter_init(&l->events), counter_init(&l->finalized);
}

static void fetch(const char *config) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL;
  OK(pgentra_provider_open(config, &provider, &error));
  if (pgentra_provider_get(provider, -1, &token, NULL, &error) != PGENTRA_OK) pgentra_error_free(error);
  pgentra_string_free(token);
  pgentra_provider_close(provider);
}

#define FAILING(tenant) \
  "{\"credential\": {\"type\": \"workload_identity\", \"tenant_id\": \"" tenant "\"}, \"environment\": {}}"

/* Returns whether an event is queued, which must be the error of a fetch that failed. */
static bool queued_error(void) {
  pgentra_error *error = NULL;
  int32_t level = -1;
  const char *target = NULL, *message = NULL;
  OK(pgentra_log_next(&level, &target, &message, &error));
  CHECK((message == NULL) == (target == NULL) && (message == NULL) == (level == PGENTRA_LOG_OFF));
  const bool found = message != NULL;
  if (found) {
    CHECK(level == PGENTRA_LOG_ERROR && strcmp(target, "pgentra::cache") == 0);
    CHECK(strstr(message, expected[EXPECTED - 1].message) == message);
  }
  pgentra_string_free(target);
  pgentra_string_free(message);
  return found;
}

/* Events that wait for pgentra_log_next(). */
static void queue(void) {
  pgentra_error *error = NULL;
  CHECK(pgentra_set_log_queue(PGENTRA_LOG_DEBUG + 1, NULL) == PGENTRA_INVALID_ARGUMENT);
  CHECK(pgentra_log_next(NULL, NULL, NULL, NULL) == PGENTRA_INVALID_ARGUMENT);
  OK(pgentra_set_log_queue(PGENTRA_LOG_ERROR, &error));
  CHECK(!queued_error());
  fetch(STATIC_CONFIG);
  fetch(FAILING("five"));
  fetch(FAILING("six"));
  for (int found = 0; found < 2; found += queued_error()) linger();
  CHECK(!queued_error());
  OK(pgentra_set_log_queue(PGENTRA_LOG_OFF, &error));
  fetch(FAILING("seven"));
  linger();
  CHECK(!queued_error());
}

int main(void) {
  pgentra_error *error = NULL;
  listener all, worst, none;
  listener_init(&all, 0), listener_init(&worst, EXPECTED - 1), listener_init(&none, EXPECTED);
  OK(pgentra_set_log_callback(PGENTRA_LOG_DEBUG, take, &all, finalize, &error));
  fetch(STATIC_CONFIG);
  fetch(FAILING("one"));
  counter_wait(&all.events, EXPECTED);
  CHECK(counter_get(&all.finalized) == 0);
  OK(pgentra_set_log_callback(PGENTRA_LOG_ERROR, take, &worst, finalize, &error));
  counter_wait(&all.finalized, 1);
  fetch(FAILING("two"));
  counter_wait(&worst.events, 1);
  OK(pgentra_set_log_callback(PGENTRA_LOG_OFF, take, &none, finalize, &error));
  counter_wait(&worst.finalized, 1);
  fetch(FAILING("three"));
  OK(pgentra_set_log_callback(PGENTRA_LOG_OFF, NULL, NULL, NULL, &error));
  counter_wait(&none.finalized, 1);
  fetch(FAILING("four"));
  linger();
  CHECK(counter_get(&all.events) == EXPECTED && counter_get(&all.finalized) == 1);
  CHECK(counter_get(&worst.events) == 1 && counter_get(&worst.finalized) == 1);
  CHECK(counter_get(&none.events) == 0 && counter_get(&none.finalized) == 1);
  queue();
  return finish();
}
