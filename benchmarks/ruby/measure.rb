# frozen_string_literal: true

# Prints, in microseconds: a warm login; opening a provider with a login.

$LOAD_PATH.unshift(File.expand_path("../../bindings-ruby/lib", __dir__))
require "pgentra"

TOKEN = "e30.#{["{\"upn\":\"alice\",\"exp\":4000000000}"].pack("m0").delete("=")}.x".freeze
OPTIONS = { credential: { type: "static_token", token: TOKEN } }.freeze

# Returns the microseconds of a call.
def measure(times, &)
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  times.times(&)
  (Process.clock_gettime(Process::CLOCK_MONOTONIC) - began) / times * 1e6
end

provider = Pgentra::TokenProvider.new(**OPTIONS)
provider.login
warm = measure(200_000) { provider.login }
opened = measure(2_000) { Pgentra::TokenProvider.new(**OPTIONS).login }
puts JSON.generate(warm_us: warm, open_us: opened)
