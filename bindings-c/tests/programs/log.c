/* Events: their order, their levels, who listens, and the end of that. */
#include "check.h"

typedef struct listener {
  counter events, finalized;
  int32_t worst;
  bool busy;
  char last[512];
} listener;

static void take(void *user_data, int32_t level, const char *target, const char *message) {
  listener *l = (listener *)user_data;
  CHECK(!l->busy);
  l->busy = true;
  CHECK(strncmp(target, "pgentra", 7) == 0 && strlen(message) > 0 && strstr(message, TOKEN) == NULL);
  CHECK(level >= PGENTRA_LOG_ERROR && level <= PGENTRA_LOG_DEBUG);
  if (l->worst == 0 || level < l->worst) l->worst = level;
  snprintf(l->last, sizeof l->last, "%s", message);
  l->busy = false;
  counter_add(&l->events);
}

static void finalize(void *user_data) { counter_add(&((listener *)user_data)->finalized); }

static void listener_init(listener *l) {
  memset(l, 0, sizeof *l);
  counter_init(&l->events), counter_init(&l->finalized);
}

static void fetch(const char *config) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL;
  OK(pgentra_provider_open(config, &provider, &error));
  if (pgentra_provider_get(provider, -1, &token, &error) != PGENTRA_OK) pgentra_error_free(error);
  pgentra_string_free(token);
  pgentra_provider_close(provider);
}

#define FAILING(tenant) \
  "{\"credential\": {\"type\": \"workload_identity\", \"tenant_id\": \"" tenant "\"}, \"environment\": {}}"

int main(void) {
  pgentra_error *error = NULL;
  listener all, some;
  listener_init(&all), listener_init(&some);
  OK(pgentra_set_log_callback(PGENTRA_LOG_DEBUG, take, &all, finalize, &error));
  fetch(STATIC_CONFIG);
  fetch(FAILING("one"));
  counter_wait(&all.events, 2);
  CHECK(counter_get(&all.finalized) == 0);
  OK(pgentra_set_log_callback(PGENTRA_LOG_OFF, take, &some, finalize, &error));
  counter_wait(&all.finalized, 1);
  const int seen = counter_get(&all.events);
  fetch(FAILING("two"));
  OK(pgentra_set_log_callback(PGENTRA_LOG_OFF, NULL, NULL, NULL, &error));
  counter_wait(&some.finalized, 1);
  fetch(FAILING("three"));
  linger();
  CHECK(counter_get(&all.events) == seen && counter_get(&all.finalized) == 1);
  CHECK(counter_get(&some.events) == 0 && counter_get(&some.finalized) == 1);
  return finish();
}
