/*
 * libpgentra with libpq: one function that connects with a token. It is compiled into the program, so that libpgentra
 * itself does not need libpq. Link the program with both: pkg-config --cflags --libs pgentra libpq
 */
#ifndef PGENTRA_LIBPQ_H
#define PGENTRA_LIBPQ_H

#include <libpq-fe.h>
#include <pgentra.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns a member of a JSON document, which the caller frees, or NULL. */
static inline const char *pgentra_libpq_member(const char *json, const char *name) {
  const char *value = NULL;
  pgentra_json_get(json, name, &value, NULL);
  return value;
}

/* Connects with the plan's connection string. A user or a password that is NULL is not given. */
static inline PGconn *pgentra_libpq_attempt(const char *conninfo, const char *user, const char *password) {
  const char *const keywords[] = {"dbname", "user", "password", NULL};
  const char *const values[] = {conninfo, user, password, NULL};
  return PQconnectdbParams(keywords, values, 1);
}

/* Returns the warnings of a plan, one a line, then `text` (may be NULL), or NULL without both. The caller calls free().
 */
static inline char *pgentra_libpq_messages(const char *warnings, const char *text) {
  const size_t length = (warnings == NULL ? 0 : strlen(warnings)) + (text == NULL ? 0 : strlen(text)) + 2;
  char *all = (char *)malloc(length);
  if (all == NULL) return NULL;
  all[0] = '\0';
  for (unsigned number = 0; warnings != NULL; number++) {
    char index[12];
    snprintf(index, sizeof index, "%u", number);
    const char *warning = pgentra_libpq_member(warnings, index);
    if (warning == NULL) break;
    /* The text is at most as long as in JSON, where it has quotes in place of the line end. */
    strcat(strcat(all, warning), "\n");
    pgentra_string_free(warning);
  }
  if (text != NULL) strcat(all, text);
  if (all[0] != '\0') return all;
  free(all);
  return NULL;
}

/*
 * Connects to a server as PQconnectdb() does, with the role and the token of an Entra identity in place of a password.
 *
 * `conninfo` is a connection string or URI of libpq; PG* variables and connection services apply. A password in these
 * settings is used as it is. No token is sent without TLS to a server that is not local: without an sslmode, "require"
 * is used. If the server rejects the login and a newer token may help, the function fetches one and connects once more.
 *
 * `names` and `values` (both may be NULL) are options as for pgentra_options_to_json(): keys of the request for
 * pgentra_connection_plan(), such as "service_connector", and of the configuration, such as "config.credential.type".
 * Both arrays end with NULL. `credential` (may be NULL) is used in place of the configuration's.
 *
 * Returns PGENTRA_OK if libpq has tried to connect, also without success: check PQstatus(). Otherwise returns the kind
 * of
 * `*error`, for example if no token can be fetched, and leaves `*connection` unchanged. `*message` (`message` may be
 * NULL) becomes a text for the user, or NULL: warnings about the settings and, if the login was rejected, the
 * principal, the role and what to do.
 *
 * Ownership: `*connection` is the caller's: PQfinish(). `*message` is the caller's: free(). Threads: any; without
 * "environment.*" options the variables of the process are read during the call. Errors: those of
 * pgentra_options_to_json(), pgentra_connection_plan(), pgentra_provider_open() and pgentra_provider_login();
 * PGENTRA_INTERNAL without memory.
 */
static inline int32_t pgentra_libpq_connect(const char *conninfo, const char *const *names, const char *const *values,
                                            const pgentra_credential *credential, PGconn **connection, char **message,
                                            pgentra_error **error) {
  const char *request = NULL, *plan = NULL, *settings = NULL, *config = NULL, *uses_entra = NULL, *warnings = NULL;
  const char *source = NULL, *timeout = NULL, *host = NULL, *connector = NULL, *user = NULL, *password = NULL;
  const char *newer = NULL, *claim = NULL, *explanation = NULL;
  pgentra_provider *provider = NULL;
  PGconn *made = NULL;
  int32_t kind = PGENTRA_OK, timeout_ms = -1;
  size_t count = 0;

  if (connection == NULL) {
    return pgentra_error_new(PGENTRA_INVALID_ARGUMENT, "argument `connection` is NULL", NULL, NULL, error);
  }
  /* The caller's options, and those of this function. */
  while (names != NULL && names[count] != NULL) count++;
  const char **all = (const char **)calloc(2 * (count + 6), sizeof *all);
  if (all == NULL) return pgentra_error_new(PGENTRA_INTERNAL, "out of memory", NULL, NULL, error);
  const char **all_values = all + count + 6;
  size_t last = 0;
  int has_config = 0;
  for (; last < count; last++) {
    all[last] = names[last];
    all_values[last] = values == NULL ? NULL : values[last];
    if (all_values[last] == NULL) continue;
    if (strcmp(all[last], "service_connector") == 0 && strcmp(all_values[last], "false") != 0) {
      connector = all_values[last];
    }
    if (strcmp(all[last], "config") == 0 || strncmp(all[last], "config.", 7) == 0) has_config = 1;
  }
  all[last] = "text", all_values[last++] = conninfo == NULL ? "" : conninfo;
  all[last] = "conninfo", all_values[last++] = "true";
  if (!has_config) all[last] = "config", all_values[last++] = "{}";
  if (credential != NULL) all[last] = "has_credential", all_values[last++] = "true";

  kind = pgentra_options_to_json(all, all_values, &request, error);
  if (kind == PGENTRA_OK) kind = pgentra_connection_plan(request, &plan, error);
  if (kind != PGENTRA_OK) goto end;
  settings = pgentra_libpq_member(plan, "conninfo");
  config = pgentra_libpq_member(plan, "config");
  uses_entra = pgentra_libpq_member(plan, "uses_entra");
  warnings = pgentra_libpq_member(plan, "warnings");
  source = pgentra_libpq_member(plan, "user_source");
  host = pgentra_libpq_member(plan, "host");
  timeout = pgentra_libpq_member(plan, "timeout");
  if (timeout != NULL && strtod(timeout, NULL) > 0 && strtod(timeout, NULL) < 1e6) {
    timeout_ms = (int32_t)(strtod(timeout, NULL) * 1000);
  }

  if (uses_entra != NULL && strcmp(uses_entra, "true") == 0) {
    kind = credential == NULL ? pgentra_provider_open(config, &provider, error)
                              : pgentra_provider_open_with(config, credential, &provider, error);
    if (kind == PGENTRA_OK) {
      kind = pgentra_provider_login(provider, timeout_ms, &user, &password, &claim, NULL, error);
    }
    if (kind != PGENTRA_OK) goto end;
  }
  made = pgentra_libpq_attempt(settings, user, password);
  if (provider != NULL && PQstatus(made) != CONNECTION_OK) {
    if (pgentra_login_error_is_retriable(NULL, PQerrorMessage(made)) &&
        pgentra_provider_invalidate(provider, password, timeout_ms, &newer, NULL) == PGENTRA_OK && newer != NULL) {
      PQfinish(made);
      made = pgentra_libpq_attempt(settings, user, newer);
    }
    if (PQstatus(made) != CONNECTION_OK) {
      pgentra_login_error_explain(NULL, PQerrorMessage(made), user, source != NULL ? source : claim,
                                  newer != NULL ? newer : password, connector != NULL ? NULL : host, NULL, &explanation,
                                  NULL);
    }
  }
  *connection = made;
  if (message != NULL) *message = pgentra_libpq_messages(warnings, explanation);

end:
  free((void *)all);
  pgentra_provider_close(provider);
  pgentra_string_free(request);
  pgentra_string_free(plan);
  pgentra_string_free(settings);
  pgentra_string_free(config);
  pgentra_string_free(uses_entra);
  pgentra_string_free(warnings);
  pgentra_string_free(source);
  pgentra_string_free(timeout);
  pgentra_string_free(host);
  pgentra_string_free(user);
  pgentra_string_free(password);
  pgentra_string_free(newer);
  pgentra_string_free(claim);
  pgentra_string_free(explanation);
  return kind;
}

#endif
