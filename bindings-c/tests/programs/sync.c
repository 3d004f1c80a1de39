/* Blocking functions: tokens and logins, with and without a cached token, statistics. */
#include "check.h"

static void tokens(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *one = NULL, *two = NULL;
  uint64_t id = 0;
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  int64_t expires_on = 1;
  OK(pgentra_provider_try_get(provider, &id, &one, &expires_on, &error));
  CHECK(id == 0 && one == NULL && expires_on == 0);
  OK(pgentra_provider_get(provider, -1, &one, &expires_on, &error));
  CHECK(expires_on == 4000000000LL);
  OK(pgentra_provider_get(provider, 0, &two, NULL, &error));
  CHECK(strcmp(one, TOKEN) == 0);
  /* The same string with two holders. */
  CHECK(one == two);
  pgentra_string_free(one);
  CHECK(strcmp(two, TOKEN) == 0);
  pgentra_string_free(two);
  OK(pgentra_provider_try_get(provider, &id, &one, &expires_on, &error));
  CHECK(id != 0 && strcmp(one, TOKEN) == 0 && expires_on == 4000000000LL);
  pgentra_string_free(one);
  const uint64_t known = id;
  OK(pgentra_provider_try_get(provider, &id, &one, NULL, &error));
  CHECK(id == known && one == NULL);
  /* Valid after the provider is closed. */
  OK(pgentra_provider_get(provider, -1, &one, NULL, &error));
  pgentra_provider_close(provider);
  CHECK(strcmp(one, TOKEN) == 0);
  pgentra_string_free(one);
}

static void logins(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *user = NULL, *password = NULL, *source = NULL;
  uint64_t id = 0;
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  int64_t expires_on = 0;
  OK(pgentra_provider_login(provider, -1, &user, &password, &source, &expires_on, &error));
  CHECK(expires_on == 4000000000LL && strcmp(user, "anna@contoso.com") == 0 && strcmp(password, TOKEN) == 0 &&
        strcmp(source, "upn") == 0);
  pgentra_string_free(user);
  pgentra_string_free(password);
  OK(pgentra_provider_try_login(provider, &id, &user, &password, NULL, NULL, &error));
  CHECK(id != 0 && strcmp(user, "anna@contoso.com") == 0);
  pgentra_string_free(user);
  pgentra_string_free(password);
  OK(pgentra_provider_try_login(provider, &id, &user, &password, &source, NULL, &error));
  CHECK(user == NULL && password == NULL && strcmp(source, "upn") == 0);
  OK(pgentra_provider_try_login(provider, &id, &user, &password, NULL, &expires_on, &error));
  CHECK(user == NULL && expires_on == 0);
  /* A static name survives every free. */
  CHECK(pgentra_string_retain(source) == source);
  for (int i = 0; i < 3; i++) pgentra_string_free(source);
  CHECK(strcmp(source, "upn") == 0);
  /* There is no newer token than a static one. */
  const char *newer = "untouched";
  OK(pgentra_provider_invalidate(provider, TOKEN, -1, &newer, &error));
  CHECK(newer == NULL);
  OK(pgentra_provider_invalidate(provider, NULL, -1, &newer, &error));
  CHECK(newer == NULL);
  const char *json = NULL;
  OK(pgentra_provider_stats(provider, &json, &error));
  CHECK(strstr(json, "\"role\":\"anna@contoso.com\"") != NULL && strstr(json, TOKEN) == NULL);
  pgentra_string_free(json);
  OK(pgentra_stats(&json, &error));
  CHECK(strstr(json, "StaticTokenCredential") != NULL);
  pgentra_string_free(json);
  pgentra_provider_close(provider);
}

/* Without `environment` in the document, the environment of the process is used. */
static void the_environment(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *user = NULL, *password = NULL, *source = NULL;
  setenv("PGUSER", "from-the-environment", 1);
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"static_token\", \"token\": \"" TOKEN "\"}}", &provider,
                           &error));
  OK(pgentra_provider_login(provider, -1, &user, &password, &source, NULL, &error));
  CHECK(strcmp(user, "from-the-environment") == 0 && strcmp(source, "PGUSER") == 0);
  pgentra_string_free(user);
  pgentra_string_free(password);
  pgentra_provider_close(provider);
}

static void credentials(void) {
  pgentra_error *error = NULL;
  pgentra_credential *member = NULL, *chain = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL, *again = NULL;
  uint64_t id = 0;
  int64_t expires_on = 0, refresh_on = 0;
  OK(pgentra_credential_open(STATIC_CONFIG, NULL, 0, &member, &error));
  const pgentra_credential *const members[] = {member};
  OK(
      pgentra_credential_open("{\"credential\": {\"type\": \"chained\", \"credentials\": [{\"type\": \"environment\"}, "
                              "{\"type\": \"custom_credential\", \"index\": 0}]}, \"environment\": {}}",
                              members, 1, &chain, &error));
  pgentra_credential_close(member);
  const pgentra_token_request request = request_for("https://vault.azure.net/.default");
  OK(pgentra_credential_try_get_token(chain, &request, &id, &token, &expires_on, &refresh_on, &error));
  CHECK(id == 0 && token == NULL && expires_on == 0 && refresh_on == 0);
  OK(pgentra_credential_get_token(chain, &request, -1, &token, &expires_on, &error));
  CHECK(strcmp(token, TOKEN) == 0 && expires_on == 4000000000LL);
  OK(pgentra_credential_try_get_token(chain, &request, &id, &again, NULL, &refresh_on, &error));
  /* The same string with two holders. */
  CHECK(id != 0 && again == token && refresh_on > time(NULL) && refresh_on < expires_on);
  pgentra_string_free(again);
  pgentra_string_free(token);
  const uint64_t known = id;
  OK(pgentra_credential_try_get_token(chain, &request, &id, &token, NULL, NULL, &error));
  CHECK(id == known && token == NULL);
  /* Another scope has another token. */
  const pgentra_token_request other = request_for(SCOPE);
  OK(pgentra_credential_get_token(chain, &other, -1, &token, NULL, &error));
  pgentra_string_free(token);
  OK(pgentra_credential_try_get_token(chain, &other, &id, &token, NULL, NULL, &error));
  CHECK(id != known && strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  OK(pgentra_provider_open_with(EMPTY_CONFIG, chain, &provider, &error));
  pgentra_credential_close(chain);
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  pgentra_provider_close(provider);
}

static void failures(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL;
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"environment\"}, \"environment\": {}}", &provider, &error));
  CHECK(pgentra_provider_get(provider, -1, &token, NULL, &error) == PGENTRA_CREDENTIAL_UNAVAILABLE);
  CHECK(strstr(pgentra_error_message(error), "EnvironmentCredential") == pgentra_error_message(error));
  CHECK(strstr(pgentra_error_detail_json(error), "\"credential\":\"EnvironmentCredential\"") != NULL);
  CHECK(token == NULL);
  pgentra_error_free(error);
  pgentra_provider_close(provider);
}

int main(void) {
  tokens();
  logins();
  the_environment();
  credentials();
  failures();
  return finish();
}
