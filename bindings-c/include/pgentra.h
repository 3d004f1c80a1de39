/*
 * libpgentra: log in to PostgreSQL with a Microsoft Entra identity.
 *
 * The conventions that hold for every function are in bindings-c/README.md. In short:
 * - A function that can fail returns 0 (PGENTRA_OK) or an error's kind, and writes an error object to its last argument
 *   unless that is NULL. Outputs are written on success only.
 * - Handles are opaque, may be used from any thread, and are checked: NULL, a closed handle or one of another type is an
 *   error (PGENTRA_INVALID_ARGUMENT), not a crash.
 * - A `const char *` is UTF-8 and ends with NUL. One that a function writes to an output is the caller's, who gives it
 *   back with pgentra_string_free(). One that is returned or passed to a callback is borrowed.
 * - Times are seconds since 1970 (UTC); limits are milliseconds, negative: the provider's own (30 s unless set).
 */
#ifndef PGENTRA_H
#define PGENTRA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What pgentra_abi_version() must return for this header: the library's functions may grow, never change. */
#define PGENTRA_ABI_VERSION 1

/** Success, and the kinds of error: docs/errors.md. Stable; new ones are appended. */
enum pgentra_kind {
  PGENTRA_OK = 0,
  PGENTRA_CREDENTIAL_UNAVAILABLE = 1,
  PGENTRA_AUTHENTICATION_FAILED = 2,
  PGENTRA_INTERACTION_REQUIRED = 3,
  PGENTRA_SERVICE_UNAVAILABLE = 4,
  PGENTRA_THROTTLED = 5,
  PGENTRA_NETWORK = 6,
  PGENTRA_UNTRUSTED_CERTIFICATE = 7,
  PGENTRA_TIMEOUT = 8,
  PGENTRA_BAD_RESPONSE = 9,
  PGENTRA_DEAD_ON_ARRIVAL = 10,
  PGENTRA_TOKEN_DECODE = 11,
  PGENTRA_USERNAME_EXTRACTION = 12,
  PGENTRA_SCOPE_PERMISSION = 13,
  PGENTRA_CREDENTIAL_VALUE = 14,
  PGENTRA_INVALID_CONFIGURATION = 15,
  PGENTRA_INVALID_CONNECTION = 16,
  PGENTRA_INSECURE_TRANSPORT = 17,
  PGENTRA_WOULD_DEADLOCK = 18,
  PGENTRA_SHUTTING_DOWN = 19,
  PGENTRA_CANCELLED = 20,
  PGENTRA_HOST_CREDENTIAL = 21,
  PGENTRA_INTERNAL = 22,
  PGENTRA_INVALID_ARGUMENT = 23
};

/** Levels of log events. */
enum pgentra_log_level {
  PGENTRA_LOG_OFF = 0,
  PGENTRA_LOG_ERROR = 1,
  PGENTRA_LOG_WARNING = 2,
  PGENTRA_LOG_INFO = 3,
  PGENTRA_LOG_DEBUG = 4
};

typedef struct pgentra_provider pgentra_provider;     /* closed by pgentra_provider_close() */
typedef struct pgentra_credential pgentra_credential; /* closed by pgentra_credential_close() */
typedef struct pgentra_operation pgentra_operation;   /* an asynchronous call; freed by pgentra_operation_free() */
typedef struct pgentra_request pgentra_request;       /* a question to a host credential; answering frees it */
typedef struct pgentra_error pgentra_error;           /* freed by pgentra_error_free() */

/** What a token is asked for. */
typedef struct pgentra_token_request {
  const char *scope;     /* such as https://ossrdbms-aad.database.windows.net/.default */
  const char *tenant_id; /* another tenant than the credential's own, or NULL */
  const char *claims;    /* a claims challenge (JSON), or NULL */
  bool enable_cae;       /* whether the token may be revoked by a claims challenge; has a cache of its own */
} pgentra_token_request;

/**
 * What an asynchronous call came to. All of it is borrowed until the callback returns: keep an error by
 * pgentra_error_retain(), a string by pgentra_string_retain() or a copy.
 */
typedef struct pgentra_outcome {
  int32_t code;               /* PGENTRA_OK or the kind of `error` */
  const pgentra_error *error; /* NULL on success */
  const char *token;          /* token or password; of pgentra_provider_invalidate_async(): the newer one, or NULL */
  const char *user;           /* pgentra_provider_login_async() only, else NULL */
  const char *user_source;    /* where `user` came from, as pgentra_provider_login() tells; static */
  int64_t expires_on;         /* the token's end, else 0 */
  uint64_t id;                /* of a provider: as pgentra_provider_try_get() tells, else 0 */
} pgentra_outcome;

/** Called exactly once, on a thread of the library's that may block; never inside of the call that started it. */
typedef void (*pgentra_done_callback)(void *user_data, const pgentra_outcome *outcome);

/**
 * Asks a host credential for a token. To be answered once, now or later, from any thread, by pgentra_request_respond(),
 * pgentra_request_fail() or pgentra_request_abandon(). `wanted` is borrowed until the callback returns.
 */
typedef void (*pgentra_token_callback)(void *user_data, pgentra_request *request, const pgentra_token_request *wanted);

/** Takes an event; `target` is "pgentra" or below it ("pgentra::cell"). Both texts are borrowed. */
typedef void (*pgentra_log_callback)(void *user_data, int32_t level, const char *target, const char *message);

/** Called once, on a thread of the library's, when the library will never use `user_data` again. */
typedef void (*pgentra_finalizer)(void *user_data);

#ifdef __cplusplus
extern "C" {
#endif

/* --- the library ---------------------------------------------------------------------------------------------- */

/** The version of the library, such as "0.1.0". Static. */
const char *pgentra_version(void);

/** PGENTRA_ABI_VERSION of the library that is loaded. */
uint32_t pgentra_abi_version(void);

/**
 * Stops the background work of this process, and waits at most 1 s for it and at most 1 s for callbacks. Waits under way
 * end with PGENTRA_SHUTTING_DOWN, and calls that need a fetch fail with it from now on. For the end of the process.
 */
void pgentra_shutdown(void);

/**
 * Events of `level` and worse go to `callback`, in their order, one at a time, on a thread of the library's. In place of
 * the one before, whose finalizer is called when it is no longer in use. NULL: nobody listens.
 */
int32_t pgentra_set_log_callback(int32_t level, pgentra_log_callback callback, void *user_data,
                                 pgentra_finalizer finalizer, pgentra_error **error);

/** What every cached token of this process is about, as a JSON array. */
int32_t pgentra_stats(const char **json, pgentra_error **error);

/** Gives back a string that a function wrote to an output, or one that was retained. NULL is ignored. */
void pgentra_string_free(const char *string);

/** Keeps a string of an outcome: one pgentra_string_free() more. Only for strings of this library; NULL gives NULL. */
const char *pgentra_string_retain(const char *string);

/* --- errors --------------------------------------------------------------------------------------------------- */

/** The kind; PGENTRA_INVALID_ARGUMENT where `error` is no error. */
int32_t pgentra_error_kind(const pgentra_error *error);

/** The kind's name, such as "credential_unavailable". Static; never NULL. */
const char *pgentra_error_code(const pgentra_error *error);

/** What failed, for which credential, what the service said, what to do. Borrowed from `error`; never NULL. */
const char *pgentra_error_message(const pgentra_error *error);

/**
 * The same as data (JSON): code, kind, message, advice, transient, class, and where they are known credential, status,
 * error, aadsts, service_message, trace_id, correlation_id, retry_after, claims, attempts. Borrowed; never NULL.
 */
const char *pgentra_error_detail_json(const pgentra_error *error);

/** `cause` of the pgentra_request_fail() that this error comes from, else NULL. Borrowed from `error`. */
void *pgentra_error_cause(const pgentra_error *error);

/** Keeps an error of an outcome: one pgentra_error_free() more. */
pgentra_error *pgentra_error_retain(const pgentra_error *error);

/** Frees an error. NULL is ignored. */
void pgentra_error_free(pgentra_error *error);

/**
 * An error of the host's own making, with the texts that all errors have. `advice` (what to do) and `credential` (its class
 * name) may be NULL. Returns the kind, so that `return pgentra_error_new(...)` fails with it.
 */
int32_t pgentra_error_new(int32_t kind, const char *message, const char *advice, const char *credential,
                          pgentra_error **error);

/** Every kind of error as a JSON array of {number, code, class, chain, transient, summary, advice}. */
int32_t pgentra_error_kinds(const char **json, pgentra_error **error);

/* --- providers ------------------------------------------------------------------------------------------------ */

/**
 * Opens a provider. Nothing is fetched yet. Providers of equal settings share one cached token.
 *
 * `config_json`: docs/config.schema.json; NULL or "{}" is the default chain. Without the key `environment`, the
 * process's environment variables are read now (no other thread may call setenv meanwhile).
 */
int32_t pgentra_provider_open(const char *config_json, pgentra_provider **provider, pgentra_error **error);

/**
 * As pgentra_provider_open(), on an open credential in place of the document's own. The provider keeps what it needs of
 * it: the handle may be closed. Providers on one handle share its tokens.
 */
int32_t pgentra_provider_open_with(const char *config_json, const pgentra_credential *credential,
                                   pgentra_provider **provider, pgentra_error **error);

/** Closes the handle. Asynchronous calls under way on it end with PGENTRA_CANCELLED. NULL is ignored. */
void pgentra_provider_close(pgentra_provider *provider);

/** A token: the password for PostgreSQL. Blocks while there is none, at most `timeout_ms`. */
int32_t pgentra_provider_get(const pgentra_provider *provider, int32_t timeout_ms, const char **token,
                             pgentra_error **error);

/**
 * A token, if a usable one is cached. Never blocks.
 *
 * `id` goes in as that of the token which the caller has (0: none) and comes out as that of the current one (0: nothing
 * is cached, ask pgentra_provider_get()). `*token` is written as NULL where the id stays the same or is 0: a caller that
 * keeps its own copy copies nothing then. Ids belong to one handle.
 */
int32_t pgentra_provider_try_get(const pgentra_provider *provider, uint64_t *id, const char **token,
                                 pgentra_error **error);

/** As pgentra_provider_get(), into a callback. `operation` may be NULL. If it fails, the callback is never called. */
int32_t pgentra_provider_get_async(const pgentra_provider *provider, int32_t timeout_ms, pgentra_done_callback callback,
                                   void *user_data, pgentra_operation **operation, pgentra_error **error);

/**
 * A role name and a token. `user_source` (may be NULL) tells where the name came from: "user", "PGUSER", a claim's name,
 * "management token", "fallback_username", "appid"; it is static, not to be freed.
 */
int32_t pgentra_provider_login(const pgentra_provider *provider, int32_t timeout_ms, const char **user,
                               const char **password, const char **user_source, pgentra_error **error);

/** As pgentra_provider_try_get() for a login; the ids are not those of pgentra_provider_try_get(). */
int32_t pgentra_provider_try_login(const pgentra_provider *provider, uint64_t *id, const char **user,
                                   const char **password, const char **user_source, pgentra_error **error);

/** As pgentra_provider_login(), into a callback. */
int32_t pgentra_provider_login_async(const pgentra_provider *provider, int32_t timeout_ms,
                                     pgentra_done_callback callback, void *user_data, pgentra_operation **operation,
                                     pgentra_error **error);

/**
 * Tells that a server refused a login with `refused` (NULL: with the current token). `*newer` becomes the newer token that
 * is worth one more try, or NULL: then the server's own error stands. Blocks while it is fetched.
 */
int32_t pgentra_provider_invalidate(const pgentra_provider *provider, const char *refused, int32_t timeout_ms,
                                    const char **newer, pgentra_error **error);

/** As pgentra_provider_invalidate(), into a callback. */
int32_t pgentra_provider_invalidate_async(const pgentra_provider *provider, const char *refused, int32_t timeout_ms,
                                          pgentra_done_callback callback, void *user_data,
                                          pgentra_operation **operation, pgentra_error **error);

/** What the provider knows of itself, as JSON. Fetches nothing. */
int32_t pgentra_provider_stats(const pgentra_provider *provider, const char **json, pgentra_error **error);

/** Ends the wait with PGENTRA_CANCELLED, unless it has ended. The fetch goes on for others. */
int32_t pgentra_operation_cancel(const pgentra_operation *operation, pgentra_error **error);

/** Frees the handle; the call goes on. NULL is ignored. */
void pgentra_operation_free(pgentra_operation *operation);

/* --- credentials ---------------------------------------------------------------------------------------------- */

/**
 * Opens the credential of a configuration document (keys `credential`, `environment`, `ca_file`, `host`, `scope`; the
 * others say nothing to it). `members` are the credentials that the document names by {"type": "host", "index": N}.
 */
int32_t pgentra_credential_open(const char *config_json, const pgentra_credential *const *members, size_t member_count,
                                pgentra_credential **credential, pgentra_error **error);

/**
 * A credential of the host's own. `name` stands in errors and logs. `finalizer` may be NULL. Tokens are cached like any
 * other, so it is asked when a fetch is due: never twice at once for one request, but for different requests at once.
 */
int32_t pgentra_credential_callback(const char *name, pgentra_token_callback callback, void *user_data,
                                    pgentra_finalizer finalizer, pgentra_credential **credential,
                                    pgentra_error **error);

/** Closes the handle. Asynchronous calls under way on it end with PGENTRA_CANCELLED. NULL is ignored. */
void pgentra_credential_close(pgentra_credential *credential);

/** A token for any scope and its end. Blocks while there is none, at most `timeout_ms` (negative: 30 s). */
int32_t pgentra_credential_get_token(const pgentra_credential *credential, const pgentra_token_request *request,
                                     int32_t timeout_ms, const char **token, int64_t *expires_on,
                                     pgentra_error **error);

/** The same, if it is cached; `*token` is written as NULL if not. Never blocks. */
int32_t pgentra_credential_try_get_token(const pgentra_credential *credential, const pgentra_token_request *request,
                                         const char **token, int64_t *expires_on, pgentra_error **error);

/** As pgentra_credential_get_token(), into a callback. */
int32_t pgentra_credential_get_token_async(const pgentra_credential *credential, const pgentra_token_request *request,
                                           int32_t timeout_ms, pgentra_done_callback callback, void *user_data,
                                           pgentra_operation **operation, pgentra_error **error);

/** Refuses a configuration document that is wrong by itself, as an open would, without opening anything. */
int32_t pgentra_config_check(const char *config_json, pgentra_error **error);

/**
 * Answers with a token. `expires_on` 0: the token's own `exp`; `refresh_on` 0: none. Frees the request. A token that cannot
 * be one is the caller's of the provider to hear of, not an error here. Fails where the request was answered before or its
 * time limit has passed.
 */
int32_t pgentra_request_respond(pgentra_request *request, const char *token, int64_t expires_on, int64_t refresh_on,
                                pgentra_error **error);

/**
 * Answers with a failure: class and text of the host's own error. `unavailable`: the credential is not set up here, a chain
 * goes on past it. `cause` (may be NULL) comes back by pgentra_error_cause(); `cause_finalizer` (may be NULL) is called when
 * the last error that has it is freed, also where this call fails.
 */
int32_t pgentra_request_fail(pgentra_request *request, const char *class_name, const char *message, bool unavailable,
                             void *cause, pgentra_finalizer cause_finalizer, pgentra_error **error);

/** Answers that the credential went away; whoever waits asks again. */
int32_t pgentra_request_abandon(pgentra_request *request, pgentra_error **error);

/* --- rules of the engine that a driver's module asks for ------------------------------------------------------- */

/** All claims of a token, unverified, as JSON. PGENTRA_TOKEN_DECODE. */
int32_t pgentra_decode_jwt(const char *token, const char **claims_json, pgentra_error **error);

/**
 * Who a token is of, as JSON: role ({name, source} or null), principal ({kind, oid, tid, appid, idtyp, present}), audience,
 * expires_on, not_before, issued_at. PGENTRA_TOKEN_DECODE.
 */
int32_t pgentra_describe_token(const char *token, const char **description_json, pgentra_error **error);

/** The name of the user-assigned identity that an `xms_mirid` claim stands for; `*name` is NULL for anything else. */
int32_t pgentra_parse_principal_name(const char *xms_mirid, const char **name, pgentra_error **error);

/**
 * Cloud, scope, management_scope, authority_host and warning, as JSON, of these settings (each may be NULL): the option
 * `scope`, the server's host name(s), the credential's `authority_host` and `cloud`, and AZURE_AUTHORITY_HOST.
 */
int32_t pgentra_resolve_cloud(const char *scope, const char *host, const char *authority_host, const char *cloud,
                              const char *env_authority_host, const char **resolved_json, pgentra_error **error);

/**
 * The sslmode (libpq's spelling) to connect with: `*instead` is NULL where the given one (NULL: none) may stay. Static, not
 * to be freed. `hosts`: where the driver connects to; an empty name is the local default. PGENTRA_INSECURE_TRANSPORT.
 */
int32_t pgentra_secure_sslmode(const char *sslmode, const char *const *hosts, size_t host_count, bool allow_insecure,
                               const char **instead, pgentra_error **error);

/**
 * Why a server refused a login, by its SQLSTATE (NULL: unknown) and message: "token_expired", "wrong_audience",
 * "token_rejected", "not_in_group", "bad_password", "role_missing", "principal_mismatch", "wrong_token_type", "no_tls",
 * "not_allowed", "other", "not_a_login". Static.
 */
const char *pgentra_refusal_cause(const char *sqlstate, const char *message);

/** Whether a newer token may succeed where a server refused a login so. */
bool pgentra_refusal_is_retriable(const char *sqlstate, const char *message);

/**
 * Lines to add to the server's message: who tried to log in as what, and what to do. Empty for "not_a_login". `role_source`
 * as pgentra_provider_login() tells; `token` may be NULL.
 */
int32_t pgentra_refusal_explain(const char *sqlstate, const char *message, const char *role, const char *role_source,
                                const char *token, const char **text, pgentra_error **error);

/** The environment variables that belong into a document's `environment`, as a JSON array. */
int32_t pgentra_known_variables(const char **json, pgentra_error **error);

#ifdef __cplusplus
}
#endif

#endif /* PGENTRA_H */
