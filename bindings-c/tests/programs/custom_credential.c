/* Custom credentials: responses, failures, abandoned requests, finalizers. */
#include "check.h"

typedef enum behaviour {
  RESPOND,
  FROM_A_THREAD,
  TWICE,
  NEVER,
  NOTHING,
  FAIL,
  UNAVAILABLE,
  ABANDON,
  CALL_THE_LIBRARY,
  IN_TURN
} behaviour;

typedef struct fixture {
  behaviour how;
  counter requests, finalized, causes;
  pgentra_request *last;
  pgentra_provider *provider;
  pgentra_credential *credential;
  char scope[128], tenant_id[64], claims[64];
  bool enable_cae;
} fixture;

static void finalize(void *user_data) { counter_add(&((fixture *)user_data)->finalized); }

static void finalize_cause(void *cause) { counter_add((counter *)cause); }

static void *respond(void *request) {
  pgentra_error *error = NULL;
  OK(pgentra_request_respond((pgentra_request *)request, TOKEN, 0, 0, &error));
  return NULL;
}

static void copy(char *place, size_t size, const char *text) { snprintf(place, size, "%s", text ? text : ""); }

static void request_token(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  fixture *m = (fixture *)user_data;
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
      OK(pgentra_request_respond(request, counter_get(&m->requests) == 0 ? "first" : "second", (int64_t)time(NULL) + 10,
                                 0, &error));
      break;
    case CALL_THE_LIBRARY:
      /* The credential cannot respond while its callback waits for it. */
      FAILS(PGENTRA_WOULD_DEADLOCK, pgentra_provider_get(m->provider, -1, &token, NULL, &error));
      FAILS(PGENTRA_WOULD_DEADLOCK, pgentra_provider_invalidate(m->provider, NULL, -1, &token, &error));
      OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
      break;
  }
  counter_add(&m->requests);
}

static void begin(fixture *m, behaviour how) {
  pgentra_error *error = NULL;
  memset(m, 0, sizeof *m);
  m->how = how;
  counter_init(&m->requests), counter_init(&m->finalized), counter_init(&m->causes);
  OK(pgentra_credential_callback("Mine", request_token, m, finalize, &m->credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, m->credential, &m->provider, &error));
}

/* The user data is finalized once, after the last handle is closed. */
static void end(fixture *m) {
  pgentra_credential_close(m->credential);
  linger();
  CHECK(counter_get(&m->finalized) == 0);
  pgentra_provider_close(m->provider);
  counter_wait(&m->finalized, 1);
  linger();
  CHECK(counter_get(&m->finalized) == 1);
}

static void response(behaviour how) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
  begin(&m, how);
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0 && strcmp(m.scope, SCOPE) == 0 && m.tenant_id[0] == '\0' && !m.enable_cae);
  pgentra_string_free(token);
  counter_wait(&m.requests, 1);
  /* From the cache, also with another provider on the same credential. */
  pgentra_provider *other = NULL;
  OK(pgentra_provider_open_with(EMPTY_CONFIG, m.credential, &other, &error));
  OK(pgentra_provider_get(other, -1, &token, NULL, &error));
  pgentra_string_free(token);
  pgentra_provider_close(other);
  CHECK(counter_get(&m.requests) == 1);
  /* The cause of a response that came too late is finalized as well. */
  if (how == TWICE) counter_wait(&m.causes, 1);
  end(&m);
}

static void late_response(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
  begin(&m, NEVER);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(m.provider, 50, &token, NULL, &error));
  counter_wait(&m.requests, 1);
  /* A late response is used. */
  OK(pgentra_request_respond(m.last, TOKEN, 0, 0, &error));
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  CHECK(counter_get(&m.requests) == 1);
  end(&m);
}

static void empty_response(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
  begin(&m, NOTHING);
  CHECK(pgentra_provider_get(m.provider, -1, &token, NULL, &error) == PGENTRA_CREDENTIAL_VALUE);
  CHECK(strstr(pgentra_error_message(error), "Mine: the credential returned an empty token") != NULL);
  pgentra_error_free(error);
  end(&m);
}

static void failure(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
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

/* A chain continues only after a credential that is unavailable. */
static void in_a_chain(void) {
  static const char chain_of_two[] =
      "{\"credential\": {\"type\": \"chained\", \"credentials\": [{\"type\": \"custom_credential\", \"index\": 0}, "
      "{\"type\": \"custom_credential\", \"index\": 1}]}, \"environment\": {}}";
  static const behaviour first[] = {UNAVAILABLE, FAIL};
  for (int i = 0; i < 2; i++) {
    pgentra_error *error = NULL;
    const char *token = NULL;
    pgentra_credential *chain = NULL;
    fixture one, two;
    begin(&one, first[i]);
    begin(&two, RESPOND);
    const pgentra_credential *const members[] = {one.credential, two.credential};
    const pgentra_token_request request = request_for(SCOPE);
    OK(pgentra_credential_open(chain_of_two, members, 2, &chain, &error));
    const int32_t kind = pgentra_credential_get_token(chain, &request, -1, &token, NULL, &error);
    CHECK(kind == (first[i] == FAIL ? (int32_t)PGENTRA_AUTHENTICATION_FAILED : (int32_t)PGENTRA_OK));
    if (first[i] != FAIL) counter_wait(&two.requests, 1);
    CHECK(counter_get(&two.requests) == (first[i] == FAIL ? 0 : 1));
    CHECK(first[i] != FAIL || pgentra_error_cause(error) == &one.causes);
    pgentra_string_free(token);
    pgentra_error_free(error);
    pgentra_credential_close(chain);
    end(&one);
    end(&two);
  }
}

static void abandoned(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
  begin(&m, ABANDON);
  FAILS(PGENTRA_CANCELLED, pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  CHECK(counter_get(&m.requests) > 1);
  end(&m);
}

/* After a login error with a token that is not new, a newer one is fetched once. */
static void invalidate(void) {
  pgentra_error *error = NULL;
  const char *token = NULL, *newer = NULL, *again = NULL;
  uint64_t id = 0, next = 0;
  fixture m;
  begin(&m, IN_TURN);
  OK(pgentra_provider_get(m.provider, -1, &token, NULL, &error));
  OK(pgentra_provider_try_get(m.provider, &id, &newer, NULL, &error));
  pgentra_string_free(newer);
  const time_t requested_at = time(NULL);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &newer, &error));
  /* NULL, unless the machine was too slow. */
  CHECK(newer == NULL || time(NULL) != requested_at || counter_get(&m.requests) > 1);
  pgentra_string_free(newer);
  /* After a tenth of its lifetime. */
  const struct timespec age = {1, 200 * 1000 * 1000};
  nanosleep(&age, NULL);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &newer, &error));
  CHECK(newer != NULL && strcmp(newer, "second") == 0 && strcmp(token, "first") == 0);
  OK(pgentra_provider_invalidate(m.provider, token, -1, &again, &error));
  CHECK(again == newer);
  counter_wait(&m.requests, 2);
  pgentra_string_free(again);
  pgentra_string_free(newer);
  pgentra_string_free(token);
  OK(pgentra_provider_try_get(m.provider, &next, &token, NULL, &error));
  CHECK(next != id && strcmp(token, "second") == 0);
  pgentra_string_free(token);
  end(&m);
}

static void wanted_members(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  fixture m;
  begin(&m, RESPOND);
  pgentra_token_request request = request_for("https://vault.azure.net/.default");
  request.tenant_id = "another-tenant";
  request.claims = "{\"access_token\": {}}";
  request.enable_cae = true;
  OK(pgentra_credential_get_token(m.credential, &request, -1, &token, NULL, &error));
  pgentra_string_free(token);
  CHECK(strcmp(m.scope, request.scope) == 0 && strcmp(m.tenant_id, request.tenant_id) == 0);
  CHECK(strcmp(m.claims, request.claims) == 0 && m.enable_cae);
  /* It is cached separately. */
  request.enable_cae = false;
  OK(pgentra_credential_get_token(m.credential, &request, -1, &token, NULL, &error));
  pgentra_string_free(token);
  counter_wait(&m.requests, 2);
  CHECK(!m.enable_cae);
  end(&m);
}

int main(void) {
  response(RESPOND);
  response(FROM_A_THREAD);
  response(TWICE);
  response(CALL_THE_LIBRARY);
  late_response();
  empty_response();
  failure();
  in_a_chain();
  abandoned();
  invalidate();
  wanted_members();
  return finish();
}
