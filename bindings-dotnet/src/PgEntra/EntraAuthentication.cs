using System.Runtime.ExceptionServices;
using System.Text.Json;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>How one data source logs in: the engine's plan, and the password provider that follows from it.</summary>
internal sealed class EntraAuthentication
{
    private const string NoName = "Could not determine username from token claims";

    private readonly NpgsqlConnectionStringBuilder settings;
    private readonly ConfiguredSettings configured;
    private readonly bool allowsInsecureTransport;
    private readonly string? user;
    private readonly ConnectionPlan plan;
    private readonly CredentialSource source;
    private readonly Doors? doors;

    internal EntraAuthentication(
        NpgsqlConnectionStringBuilder settings, PgEntraCredential? credential, EntraOptions options)
    {
        (this.settings, allowsInsecureTransport) = (settings, options.AllowInsecureTransport);
        configured = ConfiguredSettings.Of(settings);
        plan = ConnectionPlan.Make(writer => WriteGiven(writer, options.User), options, credential);
        user = options.User ?? plan.User;
        source = credential?.Source ?? plan.Credential ?? CredentialSource.Default;
        if (plan.UsesEntra || HasPassword)
        {
            doors = new(source, options, user, options.Host ?? plan.Host);
        }

        // Npgsql refuses a data source with a password and a provider, as Microsoft's helper documents: no warning is needed.
        if (!HasPassword)
        {
            plan.LogWarnings();
        }
    }

    /// <summary>For <c>UsePasswordProvider</c>; <see langword="null"/> where Service Connector set a password.</summary>
    internal Func<NpgsqlConnectionStringBuilder, string>? PasswordProvider => doors is null ? null : Password;

    /// <summary>For <c>UsePasswordProvider</c>; <see langword="null"/> where Service Connector set a password.</summary>
    internal Func<NpgsqlConnectionStringBuilder, CancellationToken, ValueTask<string>>? PasswordProviderAsync =>
        doors is null ? null : PasswordAsync;

    private bool HasPassword => configured.Given("Password") is not null;

    /// <summary>Whether the role's name is taken from the token. With a password, or a file of them, Npgsql refuses the data source.</summary>
    private bool NeedsToken => plan.UsesEntra && user is null && !HasPassword && settings.Passfile is null;

    private TimeSpan? TimeLimit => plan.Timeout ?? Limit(settings);

    /// <summary>Writes what follows from the plan into the connection string. Nothing is changed if it fails.</summary>
    internal void Configure(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var planned = NpgsqlSettings.Of(plan);
        try
        {
            Write(planned, NeedsToken ? doors?.Login.Get(TimeLimit, cancellationToken).User : null);
        }
        catch (PgEntraException failure)
        {
            throw Explained(failure);
        }
    }

    /// <inheritdoc cref="Configure"/>
    internal async Task ConfigureAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var planned = NpgsqlSettings.Of(plan);
        try
        {
            var login = NeedsToken && doors is not null
                ? await doors.Login.GetAsync(TimeLimit, cancellationToken).ConfigureAwait(false)
                : null;
            Write(planned, login?.User);
        }
        catch (PgEntraException failure)
        {
            throw Explained(failure);
        }
    }

    private string Password(NpgsqlConnectionStringBuilder connection)
    {
        CheckTls(connection);
        try
        {
            return doors!.Token.Get(Limit(connection), default);
        }
        catch (PgEntraException failure) when (failure.IsTransient)
        {
            throw ToRetry(failure);
        }
    }

    private ValueTask<string> PasswordAsync(NpgsqlConnectionStringBuilder connection, CancellationToken cancellationToken)
    {
        CheckTls(connection);
        var token = doors!.Token.GetAsync(Limit(connection), cancellationToken);
        return token.IsCompletedSuccessfully ? token : ToRetryAsync(token);
    }

    /// <summary>As Microsoft's helper throws it: the credential's own, or this message around what it comes from.</summary>
    private PgEntraException Explained(PgEntraException failure)
    {
        if (failure.InnerException is { } own && source.Document.IsHost && source.Members[0].PassesFailuresOn)
        {
            ExceptionDispatchInfo.Throw(own);
        }

        return failure.Kind is ErrorKind.TokenDecode
            or ErrorKind.UsernameExtraction
            or ErrorKind.ScopePermission
            or ErrorKind.CredentialValue
            ? failure.Saying(NoName)
            : failure;
    }

    private static async ValueTask<string> ToRetryAsync(ValueTask<string> token)
    {
        try
        {
            return await token.ConfigureAwait(false);
        }
        catch (PgEntraException failure) when (failure.IsTransient)
        {
            throw ToRetry(failure);
        }
    }

    /// <summary>Npgsql calls an error transient, as do retries built on that, if it comes from one of these.</summary>
    private static TimeoutException ToRetry(PgEntraException failure) => new(failure.Message, failure);

    /// <summary>What the connection waits for at most.</summary>
    private static TimeSpan? Limit(NpgsqlConnectionStringBuilder connection) =>
        connection.Timeout > 0 ? TimeSpan.FromSeconds(connection.Timeout) : null;

    /// <summary>Writes what the application gave.</summary>
    private void WriteGiven(Utf8JsonWriter writer, string? option)
    {
        writer.WriteOptional("host", configured.Given("Host") as string);
        writer.WriteOptional("dbname", configured.Given("Database") as string);
        writer.WriteOptional("user", option ?? configured.Given("Username") as string);
        // The engine asks only whether there is a password.
        writer.WriteOptional("password", HasPassword ? "given" : null);
        writer.WriteOptional("sslmode", configured.Given("SSL Mode") is SslMode mode ? NpgsqlSettings.NameOf(mode) : null);
        if (configured.Given("Port") is int port)
        {
            writer.WriteNumber("port", port);
        }

        if (configured.Given("Timeout") is int timeout)
        {
            writer.WriteNumber("timeout", timeout);
        }
    }

    private void Write(Dictionary<string, object> planned, string? role)
    {
        if ((user ?? role) is { } name && !name.Equals(configured.Given("Username") as string, StringComparison.Ordinal))
        {
            planned["Username"] = name;
        }

        configured.Write(planned);
    }

    /// <summary>
    /// Refuses a connection that could go without TLS: what was changed after the plan was made is found here. With TLS it
    /// costs a comparison.
    /// </summary>
    private void CheckTls(NpgsqlConnectionStringBuilder connection)
    {
        if (connection.SslMode < SslMode.Require)
        {
            RefuseWithoutTls(connection);
        }
    }

    /// <summary>Apart, because its closure would be allocated for every connection.</summary>
    private void RefuseWithoutTls(NpgsqlConnectionStringBuilder connection)
    {
        var needed = ConnectionPlan.Make(
            writer =>
            {
                writer.WriteOptional("host", connection.Host);
                writer.WriteOptional("sslmode", NpgsqlSettings.NameOf(connection.SslMode));
            },
            new EntraOptions { AllowInsecureTransport = allowsInsecureTransport },
            null);
        if (needed.SslMode is not null)
        {
            throw Library.Error(
                ErrorKind.InsecureTransport,
                $"SSL Mode={connection.SslMode} does not require TLS: the token would be sent unencrypted to {connection.Host}",
                "Use SSL Mode=VerifyFull, or set AllowInsecureTransport if the network is trusted.");
        }
    }
}

/// <summary>The engine's settings as Npgsql's.</summary>
internal static class NpgsqlSettings
{
    private static readonly Dictionary<string, string> Keywords = new()
    {
        ["application_name"] = "Application Name",
        ["channel_binding"] = "Channel Binding",
        ["client_encoding"] = "Client Encoding",
        ["connect_timeout"] = "Timeout",
        ["dbname"] = "Database",
        ["krbsrvname"] = "Kerberos Service Name",
        ["password"] = "Password",
        ["sslcert"] = "SSL Certificate",
        ["sslkey"] = "SSL Key",
        ["sslmode"] = "SSL Mode",
        ["sslpassword"] = "SSL Password",
        ["sslrootcert"] = "Root Certificate",
        ["target_session_attrs"] = "Target Session Attributes",
        ["user"] = "Username",
    };

    /// <summary>Returns a mode in libpq's spelling; <see langword="null"/> for a value that is no mode.</summary>
    internal static string? NameOf(SslMode mode) => mode switch
    {
        SslMode.Disable => "disable",
        SslMode.Allow => "allow",
        SslMode.Prefer => "prefer",
        SslMode.Require => "require",
        SslMode.VerifyCA => "verify-ca",
        SslMode.VerifyFull => "verify-full",
        _ => null,
    };

    /// <summary>Returns what a plan adds to the connection string, by Npgsql's keywords and with values of their types.</summary>
    /// <exception cref="PgEntraException">Service Connector's variables have a value that Npgsql does not accept.</exception>
    internal static Dictionary<string, object> Of(ConnectionPlan plan)
    {
        var texts = new Dictionary<string, string>();
        foreach (var (keyword, value) in plan.Settings)
        {
            switch (keyword)
            {
                case "host" or "port":
                    break;
                case "hostaddr":
                    // The plan judged this address, which Npgsql would not connect to.
                    throw Refused("hostaddr", "Npgsql has no such setting");
                case "sslrootcert" when value == "system":
                    // These are Npgsql's default.
                    break;
                default:
                    texts[Keywords.GetValueOrDefault(keyword, keyword)] = value;
                    break;
            }
        }

        AddHosts(plan.Settings, texts);
        if (plan.SslMode is { } replaced)
        {
            texts["SSL Mode"] = replaced;
        }

        return Typed(texts);
    }

    /// <summary>Npgsql lists several hosts with their ports in one setting.</summary>
    private static void AddHosts(Dictionary<string, string> settings, Dictionary<string, string> texts)
    {
        var ports = settings.GetValueOrDefault("port", "").Split(',');
        if (settings.GetValueOrDefault("host") is { } hosts)
        {
            texts["Host"] = ports.Length == 1
                ? hosts
                : string.Join(',', hosts.Split(',').Select((host, index) => WithPort(host, ports.ElementAtOrDefault(index))));
        }

        if (ports is [{ Length: > 0 } port])
        {
            texts["Port"] = port;
        }
    }

    private static string WithPort(string host, string? port) => string.IsNullOrEmpty(port) ? host
        : host.Contains(':', StringComparison.Ordinal) && host[0] is not ('[' or '/') ? $"[{host}]:{port}"
        : $"{host}:{port}";

    private static Dictionary<string, object> Typed(Dictionary<string, string> texts)
    {
        var typed = new Dictionary<string, object>();
        foreach (var (keyword, text) in texts)
        {
            var trial = new NpgsqlConnectionStringBuilder();
            if (!trial.ContainsKey(keyword))
            {
                PgEntraLogging.Warn(
                    $"The setting {keyword} of Azure Service Connector's variables is not used, because Npgsql has no such setting.");
                continue;
            }

            try
            {
                trial[keyword] = keyword == "SSL Mode" ? text.Replace("-", "", StringComparison.Ordinal) : text;
            }
            catch (ArgumentException)
            {
                // Npgsql's own message repeats the value.
                throw Refused(keyword, "Npgsql does not accept its value");
            }

            // A keyword has synonyms, and this is its own name.
            foreach (string name in trial.Keys)
            {
                typed[name] = trial[name]!;
            }
        }

        return typed;
    }

    private static PgEntraException Refused(string keyword, string cause) => Library.Error(
        ErrorKind.InvalidConnection,
        $"the setting {keyword} of Azure Service Connector's variables cannot be used: {cause}",
        "Change the variables, or set it in the connection string.");
}
