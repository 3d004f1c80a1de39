# frozen_string_literal: true

# The pools of benchmarks/soak.py in Ruby: pg in threads and a pool of Sequel, a line for each login.

$LOAD_PATH.unshift(File.expand_path("../../bindings-ruby/lib", __dir__))
require "pgentra/pg"
require "sequel"

SIZE = 2
KEPT_S = 1
SETTINGS = { host: ENV.fetch("PGHOST"), port: ENV.fetch("PGPORT").to_i, sslmode: "verify-full" }.freeze
DATABASE = ENV.fetch("PGDATABASE")
LINES = Mutex.new

def with_pg
  connection = PG.connect(**SETTINGS, dbname: DATABASE, entra: true)
  begin
    yield connection.exec("select current_user").getvalue(0, 0)
  ensure
    connection.finish
  end
end

SEQUEL = Sequel.connect(
  adapter: "postgres", test: false, max_connections: SIZE, host: SETTINGS[:host], port: SETTINGS[:port], database: DATABASE,
  driver_options: { sslmode: SETTINGS[:sslmode], entra: true }
)

def with_sequel
  SEQUEL.synchronize do |connection|
    yield connection.exec("select current_user").getvalue(0, 0)
    # The pool replaces it.
    raise Sequel::DatabaseDisconnectError
  end
rescue Sequel::DatabaseDisconnectError
  nil
end

def print_login(name, began, took, role, error)
  text = error && "#{error.class}: #{error.message}".split.join(" ")
  LINES.synchronize { puts [name, format("%.3f", began), format("%.3f", took), role, text].join("\t") }
end

def repeat(name, log_in)
  loop do
    began = Time.now.to_f
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    begin
      log_in.call do |role|
        print_login(name, began, Process.clock_gettime(Process::CLOCK_MONOTONIC) - started, role, nil)
        sleep KEPT_S
      end
    rescue StandardError => e
      print_login(name, began, Process.clock_gettime(Process::CLOCK_MONOTONIC) - started, nil, e)
      sleep 0.2
    end
  end
end

$stdout.sync = true
{ "pg" => method(:with_pg), "Sequel" => method(:with_sequel) }.each do |name, log_in|
  SIZE.times { Thread.new { repeat(name, log_in) } }
end
$stdin.read
