# frozen_string_literal: true

# Runs the calls of the tests: tests/support/language_program.py describes the lines.

$LOAD_PATH.unshift(File.expand_path("../lib", __dir__))
require "json"
require "pgentra"

if ENV["PGENTRA_TESTING"] == "1"
  Pgentra::Library.attach_function(:pgentra_run_vector, %i[string string string pointer pointer], :int32)
end

# Makes custom credentials of {"type": "custom_credential", "given": ...} in a document.
def credential(document)
  case document
  when Hash
    if document["type"] == "custom_credential"
      given = document["given"]
      function = lambda do |_request|
        raise Pgentra::CredentialUnavailableError, given["unavailable"] if given["unavailable"]
        raise given["fails"] if given["fails"]

        Pgentra::AccessToken.new(given["token"], expires_on: given["expires_on"])
      end
      return Pgentra::CustomCredential.new(function, name: given["name"])
    end
    Pgentra::DocumentCredential.new(document.transform_values { |value| nested(value) })
  else document
  end
end

def nested(value)
  case value
  when Array then value.map { |member| member.is_a?(Hash) ? credential(member) : member }
  when Hash then value.key?("type") ? credential(value) : value
  else value
  end
end

def options(given)
  given = given.transform_keys(&:to_sym)
  given[:credential] = credential(given[:credential]) if given[:credential]
  given
end

def login(found)
  { user: found.user, password: found.password, source: found.source, expires_on: found.expires_on }
end

# Each entry point: takes libpq's settings and options, returns the role.
CONNECT = {
  "ruby-pg" => lambda do |settings, entra|
    require "pgentra/pg"
    PG.connect(**settings, entra: entra.empty? || entra) do |connection|
      return connection.exec("select current_user").getvalue(0, 0)
    end
  end,
  "sequel" => lambda do |settings, entra|
    require "pgentra/pg"
    require "sequel"
    names = { dbname: :database }
    given = settings.slice(:host, :port, :user, :password, :dbname).transform_keys { |name| names.fetch(name, name) }
    rest = settings.except(:host, :port, :user, :password, :dbname)
    database = Sequel.connect(adapter: "postgres", test: false, **given, driver_options: { **rest, entra: entra.empty? || entra })
    begin
      database.fetch("select current_user as role").first[:role]
    ensure
      database.disconnect
    end
  end,
  "Active Record" => lambda do |settings, entra|
    require "active_record"
    require "pgentra/active_record"
    names = { dbname: :database, user: :username }
    given = settings.transform_keys { |name| names.fetch(name, name) }
    ActiveRecord::Base.establish_connection(adapter: "postgresql", **given, entra: entra.empty? || entra)
    begin
      ActiveRecord::Base.connection.select_value("select current_user")
    ensure
      ActiveRecord::Base.remove_connection
    end
  end
}.freeze

library = Pgentra::Library
CALLS = {
  "decode_jwt" => ->(r) { Pgentra.decode_jwt(r["token"]) },
  "describe_token" => ->(r) { Pgentra.describe_token(r["token"]) },
  "parse_principal_name" => ->(r) { library.text(:pgentra_parse_principal_name, r["xms_mirid"]) },
  "resolve_cloud" => ->(r) { library.document(:pgentra_resolve_cloud, *r["arguments"]) },
  "login_error" => lambda do |r|
    { cause: library.pgentra_login_error_cause(r["sqlstate"], r["message"]),
      retry: library.pgentra_login_error_is_retriable(r["sqlstate"], r["message"]) }
  end,
  "login_error_explain" => ->(r) { library.text(:pgentra_login_error_explain, *r["arguments"]) },
  "connection_read" => ->(r) { library.document(:pgentra_connection_read, r["text"], r["form"]) },
  "connection_plan" => ->(r) { library.document(:pgentra_connection_plan, JSON.generate(r["request"])) },
  "run_vector" => ->(r) { library.text(:pgentra_run_vector, r["group"], r["case"], r["directory"]) },
  "login" => ->(r) { login(Pgentra::TokenProvider.new(**options(r["options"])).login(timeout: r["timeout"])) },
  "get_token" => lambda do |r|
    found = credential(r["credential"])
    found.open(r["environment"]) if r["environment"]
    token = found.get_token(Pgentra::TokenRequest.new(**r["request"].transform_keys(&:to_sym)))
    { token: token.token, expires_on: token.expires_on }
  end,
  "connect" => ->(r) { CONNECT[r["entry"]].call(r["settings"].transform_keys(&:to_sym), options(r["options"] || {})) },
  # A file of the tests, which defines CASES.
  "script" => lambda do |r|
    require_relative r["file"]
    CASES.fetch(r["case"]).call(r)
  end
}.freeze

def failed(error)
  found = Pgentra::Error.find(error)
  { error: { code: found&.code || "", message: error.message, detail: found&.detail || {}, class: error.class.name } }
end

while (line = $stdin.gets)
  request = JSON.parse(line)
  response =
    begin
      { result: CALLS.fetch(request["call"]).call(request) }
    rescue Exception => e # rubocop:disable Lint/RescueException
      failed(e)
    end
  puts JSON.generate(response)
  $stdout.flush
end
