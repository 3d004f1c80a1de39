# frozen_string_literal: true

require "json"

require_relative "pgentra/version"
require_relative "pgentra/error"
require_relative "pgentra/library"
require_relative "pgentra/logging"
require_relative "pgentra/tokens"
require_relative "pgentra/wait"
require_relative "pgentra/custom_queue"
require_relative "pgentra/credential"
require_relative "pgentra/identity"
require_relative "pgentra/token_provider"
require_relative "pgentra/login_attempt"
require_relative "pgentra/railtie" if defined?(Rails::Railtie)

# Logs in to PostgreSQL with a Microsoft Entra identity instead of a password. `require "pgentra/pg"` adds the keyword `entra` to
# the connections of the gem pg, and so to Active Record and Sequel.
module Pgentra
  # Returns all claims of a token, without verifying them. Raises TokenDecodeError.
  def self.decode_jwt(token)
    Library.document(:pgentra_decode_jwt, token)
  end

  # Describes a token: role (name, source), principal (kind, oid, tid, appid, idtyp), audience, expires_on, not_before and
  # issued_at (seconds since 1970). Raises TokenDecodeError.
  def self.describe_token(token)
    Library.document(:pgentra_describe_token, token)
  end

  # Returns the statistics of every cached token of this process.
  def self.stats
    Library.document(:pgentra_stats)
  end
end
