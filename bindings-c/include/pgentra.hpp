/*
 * libpgentra for C++11 and newer: handles that close themselves, and errors as exceptions. pgentra.h describes the
 * functions.
 */
#ifndef PGENTRA_HPP
#define PGENTRA_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "pgentra.h"

namespace pgentra {

/** An error: what() is the message, kind() and detail() are for programs. */
class Error : public std::runtime_error {
 public:
  /** Copies the error and frees it. */
  explicit Error(pgentra_error *error)
      : std::runtime_error(pgentra_error_message(error)),
        kind_(pgentra_error_kind(error)),
        detail_(pgentra_error_detail_json(error)) {
    pgentra_error_free(error);
  }
  /** One of enum pgentra_kind. */
  std::int32_t kind() const noexcept { return kind_; }
  /** The error as JSON. */
  const std::string &detail() const noexcept { return detail_; }

 private:
  std::int32_t kind_;
  std::string detail_;
};

struct Deleter {
  void operator()(const char *string) const noexcept { pgentra_string_free(string); }
  void operator()(pgentra_provider *provider) const noexcept { pgentra_provider_close(provider); }
  void operator()(pgentra_credential *credential) const noexcept { pgentra_credential_close(credential); }
  void operator()(pgentra_operation *operation) const noexcept { pgentra_operation_free(operation); }
};

/** A string of the library. It is overwritten when its last holder frees it. */
using String = std::unique_ptr<const char, Deleter>;
using Credential = std::unique_ptr<pgentra_credential, Deleter>;
using Operation = std::unique_ptr<pgentra_operation, Deleter>;

/** Calls a function of pgentra.h whose last argument is an error, and throws that error. */
template <typename Function, typename... Arguments>
void call(Function function, Arguments &&...arguments) {
  pgentra_error *error = nullptr;
  if (function(std::forward<Arguments>(arguments)..., &error) != PGENTRA_OK) throw Error(error);
}

/** A provider of tokens and logins, for any number of threads. */
class Provider {
 public:
  /** Opens a provider with a configuration, and with `credential` in place of the configuration's if it is not null. */
  explicit Provider(const std::string &config_json = "{}", const pgentra_credential *credential = nullptr) {
    pgentra_provider *provider = nullptr;
    if (credential == nullptr) {
      call(pgentra_provider_open, config_json.c_str(), &provider);
    } else {
      call(pgentra_provider_open_with, config_json.c_str(), credential, &provider);
    }
    provider_.reset(provider);
  }
  /** Returns a token. Blocks until one is available, at most `timeout_ms`. */
  String get(std::int32_t timeout_ms = -1) const {
    const char *token = nullptr;
    call(pgentra_provider_get, get_handle(), timeout_ms, &token, nullptr);
    return String(token);
  }
  /** Returns a role name and a token, which is its password. */
  std::pair<String, String> login(std::int32_t timeout_ms = -1) const {
    const char *user = nullptr, *password = nullptr;
    call(pgentra_provider_login, get_handle(), timeout_ms, &user, &password, nullptr, nullptr);
    return {String(user), String(password)};
  }
  /** Reports that the server rejected `token`. Returns a newer token to try once more, or null. */
  String invalidate(const char *token, std::int32_t timeout_ms = -1) const {
    const char *newer = nullptr;
    call(pgentra_provider_invalidate, get_handle(), token, timeout_ms, &newer);
    return String(newer);
  }
  /** Returns the handle for the functions of pgentra.h. */
  const pgentra_provider *get_handle() const noexcept { return provider_.get(); }

 private:
  std::unique_ptr<pgentra_provider, Deleter> provider_;
};

}  // namespace pgentra

#endif
