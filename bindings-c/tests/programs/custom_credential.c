/* Credentials of the host's own: how they answer, fail, go away, and end. */
#include "check.h"

typedef enum answer {
  RESPOND,
  FROM_A_THREAD,
  TWICE,
  NEVER,
  NOTHING,
  FAIL,
  UNAVAILABLE,
  ABANDON,
  CALL_BACK_IN,
  IN_TURN
} answer;

typedef struct mine {
  answer how;
  counter asked, finalized, causes;
  pgentra_request *last;
  pgentra_provider *provider;
  pgentra_credential *credential;
  char scope[128], tenant_id[64], claims[64];
  bool enable_cae;
} mine;

static void finalize(void *user_data) { counter_add(&((mine *)user_data)->finalized); }

static void finalize_cause(void *cause) { counter_add((counter *)cause); }

static void *respond(void *request) {
  pgentra_error *error = NULL;
  OK(pgentra_request_respond((pgentra_request *)request, TOKEN, 0, 0, &error));
  return NULL;
}

static void copy(char *place, size_t size, const char *text) { snprintf(place, size, "%s", text ? text : ""); }

static void ask(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  mine *m = (mine *)user_data;
  pgentra_error *error = NULL;
  pthread_t thread;
  const char *token = NULL;
  m->last = request;
  copy(m->scope, sizeof m->scope, wanted->scope);
  copy(m->tenant_id, sizeof m->tenant_id, wanted->tenant_id);
  copy(m->claims, sizeof m->claims, wanted->claims);
  m->enable_cae = wanted->enable_cae;
  switch (m->how) {
    case RESPOND:
      OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
      break;
    case FROM_A_THREAD:
      CHECK(pthread_create(&thread, NULL, respond, request) == 0);
      CHECK(pthread_detach(thread) == 0);
      break;
    case TWICE:
      OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
      FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(request, "another", 4000000000LL, 0, &error));
      FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_abandon(request, &error));
      FAILS(PGENTRA_INVALID_ARGUMENT,
            pgentra_request_fail(request, "E", "late", false, &m->causes, finalize_cause, &error));
      break;
    case NEVER:
      break;
    case NOTHING:
      OK(pgentra_request_respond(request, NULL, 0, 0, &error));
      break;
    case FAIL:
    case UNAVAILABLE:
      OK(pgentra_request_fail(request, "OutOfOrder", "AADSTS700016: no such application. And more.",
                              m->how == UNAVAILABLE, &m->causes, finalize_cause, &error));
      break;
    case ABANDON:
      OK(pgentra_request_abandon(request, &error));
      break;
    case IN_TURN:
      OK(pgentra_request_respond(request, counter_get(&m->asked) == 0 ? "first" : "second", (int64_t)time(NULL) + 10, 0,
                                 &error));
      break;
    case CALL_BACK_IN:
      /* The same credential cannot answer while it asks. */
      FAILS(PGENTRA_WOULD_DEADLOCK, pgentra_provider_get(m->provider, -1, &token, NULL, &error));
      FAILS(PGENTRA_WOULD_DEADLOCK, pgentra_provider_invalidate(m->provider, NULL, -1, &token, &error));
      OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
      break;
  }
  counter_add(&m->asked);
}

static void begin(mine *m, answer how) {
  pgentra_error *error = NULL;
  memset(m, 0, sizeof *m);
  m->how = how;
  counter_init(&m->asked), counter_init(&m->finalized), counter_init(&m->causes);
  OK(pgentra_credential_callback("Mine", ask, m, finalize, &m->credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, m->credential, &m->provider, &error));
}

/* The user data is given back once, when nobody is left. */
static void end(mine *m) {
  pgentra_credential_close(m->credential);
  linger();
  CHECK(counter_get(&m->finalized) == 0);
  pgentra_provider_close(m->provider);
  counter_wait(&m->finalized, 1);
  linger();
  CHECK(counter_get(&m->finalized) == 1);
}

static void answers(answer how) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, how);
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0 && strcmp(m.scope, SCOPE) == 0 && m.tenant_id[0] == '\0' && !m.enable_cae);
  pgentra_string_free(token);
  counter_wait(&m.asked, 1);
  /* From the cache, also by another provider on the same credential. */
  pgentra_provider *other = NULL;
  OK(pgentra_provider_open_with(EMPTY_CONFIG, m.credential, &other, &error));
  OK(pgentra_provider_get(other, -1, &token, NULL, &error));
  pgentra_string_free(token);
  pgentra_provider_close(other);
  CHECK(counter_get(&m.asked) == 1);
  /* The cause of an answer that came too late is given back too. */
  if (how == TWICE) counter_wait(&m.causes, 1);
  end(&m);
}

static void never_answers(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, NEVER);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(m.provider, 50, &token, NULL, &error));
  counter_wait(&m.asked, 1);
  /* Late, but still taken. */
  OK(pgentra_request_respond(m.last, TOKEN, 0, 0, &error));
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  CHECK(counter_get(&m.asked) == 1);
  end(&m);
}

static void answers_nothing(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, NOTHING);
  CHECK(pgentra_provider_get(m.provider, -1, &token, NULL, &error) == PGENTRA_CREDENTIAL_VALUE);
  CHECK(strstr(pgentra_error_message(error), "Mine: the credential returned an empty token") != NULL);
  pgentra_error_free(error);
  end(&m);
}

static void fails(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, FAIL);
  CHECK(pgentra_provider_get(m.provider, -1, &token, NULL, &error) == PGENTRA_AUTHENTICATION_FAILED);
  CHECK(strstr(pgentra_error_message(error), "Mine: the credential raised OutOfOrder") != NULL);
  CHECK(strstr(pgentra_error_detail_json(error), "\"aadsts\":700016") != NULL);
  CHECK(strstr(pgentra_error_detail_json(error), "\"class\":\"OutOfOrder\"") != NULL);
  CHECK(pgentra_error_cause(error) == &m.causes);
  end(&m);
  CHECK(counter_get(&m.causes) == 0);
  pgentra_error_free(error);
  counter_wait(&m.causes, 1);
}

/* A chain goes on past what is not set up here, and only past that. */
static void in_a_chain(void) {
  static const char chain_of_two[] =
      "{\"credential\": {\"type\": \"chained\", \"credentials\": [{\"type\": \"custom_credential\", \"index\": 0}, "
      "{\"type\": \"custom_credential\", \"index\": 1}]}, \"environment\": {}}";
  static const answer first[] = {UNAVAILABLE, FAIL};
  for (int i = 0; i < 2; i++) {
    pgentra_error *error = NULL;
    const char *token = NULL;
    pgentra_credential *chain = NULL;
    mine one, two;
    begin(&one, first[i]);
    begin(&two, RESPOND);
    const pgentra_credential *const members[] = {one.credential, two.credential};
    const pgentra_token_request request = request_for(SCOPE);
    OK(pgentra_credential_open(chain_of_two, members, 2, &chain, &error));
    const int32_t kind = pgentra_credential_get_token(chain, &request, -1, &token, NULL, &error);
    CHECK(kind == (first[i] == FAIL ? (int32_t)PGENTRA_AUTHENTICATION_FAILED : (int32_t)PGENTRA_OK));
    if (first[i] != FAIL) counter_wait(&two.asked, 1);
    CHECK(counter_get(&two.asked) == (first[i] == FAIL ? 0 : 1));
    CHECK(first[i] != FAIL || pgentra_error_cause(error) == &one.causes);
    pgentra_string_free(token);
    pgentra_error_free(error);
    pgentra_credential_close(chain);
    end(&one);
    end(&two);
  }
}

static void goes_away(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, ABANDON);
  FAILS(PGENTRA_CANCELLED, pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  CHECK(counter_get(&m.asked) > 1);
  end(&m);
}

/* A server refused a token that is not fresh any more: there is a newer one, once. */
static void is_invalidated(void) {
  pgentra_error *error = NULL;
  const char *token = NULL, *newer = NULL, *again = NULL;
  uint64_t id = 0, next = 0;
  mine m;
  begin(&m, IN_TURN);
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  OK(pgentra_provider_try_get(m.provider, &id, &newer, NULL, &error));
  pgentra_string_free(newer);
  const time_t asked_at = time(NULL);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &newer, &error));
  /* Unless this machine stood still for a while. */
  CHECK(newer == NULL || time(NULL) != asked_at || counter_get(&m.asked) > 1);
  pgentra_string_free(newer);
  /* Past a tenth of its life. */
  const struct timespec age = {1, 200 * 1000 * 1000};
  nanosleep(&age, NULL);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &newer, &error));
  CHECK(newer != NULL && strcmp(newer, "second") == 0 && strcmp(token, "first") == 0);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &again, &error));
  CHECK(again == newer);
  counter_wait(&m.asked, 2);
  pgentra_string_free(again);
  pgentra_string_free(newer);
  pgentra_string_free(token);
  OK(pgentra_provider_try_get(m.provider, &next, &token, NULL, &error));
  CHECK(next != id && strcmp(token, "second") == 0);
  pgentra_string_free(token);
  end(&m);
}

static void is_told_what_is_wanted(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  mine m;
  begin(&m, RESPOND);
  pgentra_token_request request = request_for("https://vault.azure.net/.default");
  request.tenant_id = "another-tenant";
  request.claims = "{\"access_token\": {}}";
  request.enable_cae = true;
  OK(pgentra_credential_get_token(m.credential, &request, -1, &token, NULL, &error));
  pgentra_string_free(token);
  CHECK(strcmp(m.scope, request.scope) == 0 && strcmp(m.tenant_id, request.tenant_id) == 0);
  CHECK(strcmp(m.claims, request.claims) == 0 && m.enable_cae);
  /* Another cache. */
  request.enable_cae = false;
  OK(pgentra_credential_get_token(m.credential, &request, -1, &token, NULL, &error));
  pgentra_string_free(token);
  counter_wait(&m.asked, 2);
  CHECK(!m.enable_cae);
  end(&m);
}

int main(void) {
  answers(RESPOND);
  answers(FROM_A_THREAD);
  answers(TWICE);
  answers(CALL_BACK_IN);
  never_answers();
  answers_nothing();
  fails();
  in_a_chain();
  goes_away();
  is_invalidated();
  is_told_what_is_wanted();
  return finish();
}
