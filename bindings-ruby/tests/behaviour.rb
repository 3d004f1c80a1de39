# frozen_string_literal: true

require "logger"
require "pp" # rubocop:disable Lint/RedundantRequireStatement
require "stringio"
require "timeout"

TOKEN = "e30.#{["{\"upn\":\"alice\",\"exp\":4000000000}"].pack("m0")}.canary".freeze

def static_provider
  Pgentra::TokenProvider.new(credential: { type: "static_token", token: TOKEN }, environment: {})
end

def shown(object)
  texts = [object.inspect, object.to_s, object.pretty_inspect, JSON.generate(object), "#{object}"]
  begin
    texts << Marshal.dump(object)
  rescue TypeError => e
    texts << e.message
  end
  texts
end

def configuration(request)
  { adapter: "postgresql", **request["settings"].transform_keys(&:to_sym), entra: { credential: request["credential"] } }
end

# What the tests of test_behaviour.py run, by name.
CASES = {
  "dumps" => lambda do |_r|
    identity = Pgentra::Identity
    objects = [
      identity::ClientSecretCredential.new(tenant_id: "t", client_id: "c", client_secret: "canary"),
      identity::ClientCertificateCredential.new(tenant_id: "t", client_id: "c", certificate: "canary",
                                                certificate_password: "canary"),
      identity::OnBehalfOfCredential.new(tenant_id: "t", client_id: "c", user_assertion_token: "canary", client_secret: "canary"),
      identity::StaticTokenCredential.new(token: TOKEN),
      identity::ChainedTokenCredential.new(identity::StaticTokenCredential.new(token: TOKEN)),
      static_provider, static_provider.login, static_provider.token
    ]
    objects.flat_map { |object| shown(object) }
  end,
  "unknown keyword" => ->(_r) { Pgentra::TokenProvider.new(credential: Pgentra::Identity::EnvironmentCredential.new(foo: 1)) },
  "unknown option" => ->(_r) { Pgentra::TokenProvider.new(credentials: 1) },
  "credential of another type" => ->(_r) { Pgentra::TokenProvider.new(credential: 5) },
  "bad value" => ->(_r) { Pgentra::TokenProvider.new(credential: ->(_request) { 5 }).token },
  "NUL" => ->(_r) { Pgentra.decode_jwt("a\0b") },
  "encoding" => ->(_r) { Pgentra::TokenProvider.new(host: "\xff".dup.force_encoding("BINARY")) },
  "log" => lambda do |_r|
    output = StringIO.new
    Pgentra.logger = Logger.new(output, level: Logger::DEBUG)
    static_provider.login
    begin
      Pgentra::TokenProvider.new(credential: { type: "environment" }, environment: {}).login
    rescue Pgentra::CredentialUnavailableError
      # Its event is what counts.
    end
    500.times do
      break if output.string.include?("ERROR")

      sleep 0.01
      Pgentra::Logging.pass
    end
    Pgentra.logger = nil
    output.string
  end,
  "stats" => ->(_r) { static_provider.tap(&:login).stats },
  # The interpreter's lock is released while a login waits: another thread counts meanwhile.
  "GVL" => lambda do |r|
    provider = Pgentra::TokenProvider.new(**options(r["options"]))
    count = 0
    counting = Thread.new { loop { count += 1 and sleep 0.01 } }
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    provider.login
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
    counting.kill
    { count: count, took: took }
  end,
  "threads" => lambda do |r|
    provider = Pgentra::TokenProvider.new(**options(r["options"]))
    Array.new(50) { Thread.new { provider.login.user } }.map(&:value).uniq
  end,
  "timeout of Ruby" => lambda do |r|
    provider = Pgentra::TokenProvider.new(**options(r["options"]))
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    begin
      Timeout.timeout(0.3) { provider.login }
    rescue Timeout::Error
      Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
    end
  end,
  "invalidate" => lambda do |r|
    calls = 0
    credential = Pgentra::CustomCredential.new(name: "Counting") do |_request|
      calls += 1
      Pgentra::AccessToken.new(r["tokens"][[calls - 1, 1].min], expires_on: Time.now.to_i + 9)
    end
    provider = Pgentra::TokenProvider.new(credential: credential)
    first = provider.login
    sleep 1
    [provider.invalidate(first.password), provider.login.password == r["tokens"][1], calls]
  end,
  # As Puma's preload_app!: the children use the parent's token, and serve custom credentials by threads of their own.
  "fork" => lambda do |_r|
    provider = static_provider
    custom = Pgentra::TokenProvider.new(credential: ->(_request) { Pgentra::AccessToken.new(TOKEN) })
    provider.login
    Array.new(4) do
      pid = fork do
        good = provider.login.user == "alice" && custom.login.user == "alice"
        exit!(good ? 0 : 1)
      end
      Process.wait2(pid)[1].exitstatus
    end
  end,
  "reset" => lambda do |r|
    require "pgentra/pg"
    connection = PG.connect(**r["settings"].transform_keys(&:to_sym), entra: { credential: r["credential"] })
    connection.reset
    connection.exec("select current_user").getvalue(0, 0)
  end,
  "string and hash" => lambda do |r|
    require "pgentra/pg"
    settings = r["settings"]
    text = settings.map { |name, value| "#{name}=#{value}" }.join(" ")
    entra = { credential: r["credential"] }
    [
      PG.connect(text, entra: entra),
      PG::Connection.new(text, { entra: entra }),
      PG::Connection.open(**settings.transform_keys(&:to_sym), entra: entra),
      PG.connect({ "entra" => entra }.merge(settings)),
      PG.connect("postgresql://#{settings["host"]}:#{settings["port"]}/#{settings["dbname"]}?sslmode=verify-full", entra: entra)
    ].map { |connection| connection.exec("select current_user").getvalue(0, 0).tap { connection.close } }
  end,
  "not entra" => lambda do |r|
    require "pgentra/pg"
    settings = r["settings"].transform_keys(&:to_sym)
    [{}, { entra: nil }, { entra: false }, { entra: "false" }].map do |more|
      PG.connect(**settings, **more).then { |connection| connection.exec("select current_user").getvalue(0, 0) }
    end
  end,
  "pool" => lambda do |r|
    require "active_record"
    require "pgentra/active_record"
    ActiveRecord::Base.establish_connection(**configuration(r), pool: 5)
    roles = Array.new(5) do
      Thread.new do
        ActiveRecord::Base.connection_pool.with_connection { |one| one.select_value("select current_user") }
      end
    end.map(&:value)
    ActiveRecord::Base.connection.reconnect!
    [*roles, ActiveRecord::Base.connection.select_value("select current_user")].uniq
  end,
  # structure.sql: pg_dump and psql log in.
  "structure" => lambda do |r|
    require "active_record"
    require "pgentra/active_record"
    given = configuration(r).merge(database: r["settings"]["database"])
    config = ActiveRecord::DatabaseConfigurations::HashConfig.new("test", "primary", given)
    ActiveRecord::Base.establish_connection(config)
    tasks = ActiveRecord::Tasks::PostgreSQLDatabaseTasks.new(config)
    # psql writes to the standard output, which belongs to the responses.
    own = $stdout.dup
    $stdout.reopen($stderr)
    begin
      tasks.structure_dump(r["file_out"], ["--exclude-schema=pgaadauth"])
      tasks.structure_load(r["file_out"], nil)
    ensure
      $stdout.reopen(own)
    end
    [File.read(r["file_out"]).include?("PostgreSQL database dump"), ENV.fetch("PGPASSWORD", nil)]
  end
}.freeze
