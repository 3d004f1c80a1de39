using System.Runtime.ExceptionServices;
using System.Text.Json;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>How one data source logs in: the engine's plan, and the password provider that implements it.</summary>
internal sealed class EntraAuthentication
{
    // The message of Microsoft's helper, which programs match.
    private const string NoName = "Could not determine username from token claims";

    private const string GssEncryption = "GSS Encryption Mode";

    private static readonly bool HasGssEncryption = new NpgsqlConnectionStringBuilder().ContainsKey(GssEncryption);

    private readonly NpgsqlConnectionStringBuilder settings;
    private readonly ConfiguredSettings configured;
    private readonly bool allowsInsecureTransport;
    private readonly bool usesConnector;
    private readonly string? user;
    private readonly ConnectionPlan plan;
    private readonly CredentialSource source;
    private readonly TokenClient? client;
    private EntraLogin? derived;

    internal EntraAuthentication(
        NpgsqlConnectionStringBuilder settings, PgEntraCredential? credential, EntraOptions options)
    {
        (this.settings, allowsInsecureTransport) = (settings, options.AllowInsecureTransport);
        usesConnector = options.ServiceConnector is not null;
        configured = ConfiguredSettings.Of(settings);
        plan = ConnectionPlan.Make(writer => WriteGiven(writer, options), options, credential);
        user = options.User ?? plan.User;
        source = credential?.Source ?? plan.Credential ?? CredentialSource.Default;
        IgnoresPassword = options.IgnorePassword;
        if (plan.UsesEntra || HasPassword)
        {
            client = new(source, options, user, options.Host ?? plan.Host);
        }

        // Npgsql rejects a data source that has a password and a password provider, so a warning is not needed.
        if (!HasPassword)
        {
            plan.LogWarnings();
        }
    }

    /// <summary>For <c>UsePasswordProvider</c>; <see langword="null"/> if Service Connector's variables contain a password.</summary>
    internal Func<NpgsqlConnectionStringBuilder, string>? PasswordProvider => client is null ? null : Password;

    /// <inheritdoc cref="PasswordProvider"/>
    internal Func<NpgsqlConnectionStringBuilder, CancellationToken, ValueTask<string>>? PasswordProviderAsync =>
        client is null ? null : PasswordAsync;

    /// <summary>Whether the connection string has a password that is not ignored.</summary>
    internal bool HasPassword => !IgnoresPassword && configured.Given("Password") is not null;

    private bool IgnoresPassword { get; }

    /// <summary>
    /// Whether the role's name comes from the token. With a password or a password file no token is requested, because Npgsql
    /// rejects the data source.
    /// </summary>
    private bool NeedsToken =>
        plan.UsesEntra && user is null && !HasPassword && (IgnoresPassword || settings.Passfile is null);

    private TimeSpan? ConfigurationLimit => plan.Timeout ?? (settings.Timeout > 0 ? TimeSpan.FromSeconds(settings.Timeout) : null);

    /// <summary>Writes the plan's settings into the connection string. If it fails, nothing is changed.</summary>
    internal void Configure(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var planned = NpgsqlSettings.Of(plan);
        try
        {
            Write(planned, NeedsToken ? client?.Login.Get(ConfigurationLimit, cancellationToken) : null);
        }
        catch (PgEntraException failure)
        {
            throw WithHelperMessage(failure);
        }
    }

    /// <inheritdoc cref="Configure"/>
    internal async Task ConfigureAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var planned = NpgsqlSettings.Of(plan);
        try
        {
            var login = NeedsToken && client is not null
                ? await client.Login.GetAsync(ConfigurationLimit, cancellationToken).ConfigureAwait(false)
                : null;
            Write(planned, login);
        }
        catch (PgEntraException failure)
        {
            throw WithHelperMessage(failure);
        }
    }

    private string Password(NpgsqlConnectionStringBuilder connection)
    {
        CheckTls(connection);
        try
        {
            var token = client!.Token.Get(WaitLimit(connection), default);
            Record(connection.Username, token);
            return token;
        }
        catch (PgEntraException failure) when (failure.IsTransient)
        {
            throw Transient(failure);
        }
    }

    private ValueTask<string> PasswordAsync(NpgsqlConnectionStringBuilder connection, CancellationToken cancellationToken)
    {
        CheckTls(connection);
        var token = client!.Token.GetAsync(WaitLimit(connection), cancellationToken);
        if (!token.IsCompletedSuccessfully)
        {
            return WaitAsync(token, connection.Username);
        }

        Record(connection.Username, token.Result);
        return token;
    }

    private async ValueTask<string> WaitAsync(ValueTask<string> pending, string? role)
    {
        try
        {
            var token = await pending.ConfigureAwait(false);
            Record(role, token);
            return token;
        }
        catch (PgEntraException failure) when (failure.IsTransient)
        {
            throw Transient(failure);
        }
    }

    private void Record(string? role, string token)
    {
        if (LoginAttempt.Current is { } attempt)
        {
            var source = role == derived?.User ? derived?.UserSource : role == plan.User ? plan.UserSource : "user";
            attempt.Record(client!, role ?? "", source, token, usesConnector ? null : plan.Host);
        }
    }

    /// <summary>Returns the credential's own exception, or an exception with the message of Microsoft's helper, as that helper does.</summary>
    private PgEntraException WithHelperMessage(PgEntraException failure)
    {
        if (failure.InnerException is { } own && source.Document.IsCustom && source.Members[0].RethrowsOwnExceptions)
        {
            ExceptionDispatchInfo.Throw(own);
        }

        return failure.Kind is ErrorKind.TokenDecode
            or ErrorKind.UsernameExtraction
            or ErrorKind.ScopePermission
            or ErrorKind.CredentialValue
            ? failure.WithMessage(NoName)
            : failure;
    }

    /// <summary>Npgsql and the retries built on it treat an error as transient if its cause is a <see cref="TimeoutException"/>.</summary>
    private static TimeoutException Transient(PgEntraException failure) => new(failure.Message, failure);

    /// <summary>Returns the longest wait for a token while a connection is opened.</summary>
    /// <remarks>
    /// Npgsql's own clock for <c>Timeout</c> started before the server requested the password. A fifth of the time, at
    /// least half a second, is left, so that the error with its cause arrives before Npgsql's own.
    /// </remarks>
    private static TimeSpan? WaitLimit(NpgsqlConnectionStringBuilder connection) => connection.Timeout switch
    {
        <= 0 => null,
        1 => TimeSpan.FromSeconds(0.5),
        var seconds => TimeSpan.FromSeconds(seconds * 0.8),
    };

    /// <summary>Writes the application's settings.</summary>
    private void WriteGiven(Utf8JsonWriter writer, EntraOptions options)
    {
        writer.WriteOptional("host", configured.Given("Host") as string);
        writer.WriteOptional("dbname", configured.Given("Database") as string);
        writer.WriteOptional("user", options.User ?? configured.Given("Username") as string);
        // The engine only needs to know whether there is a password.
        var hasPassword = configured.Given("Password") is not null || (options.IgnorePassword && configured.Given("Passfile") is not null);
        writer.WriteOptional("password", hasPassword ? "given" : null);
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

    private void Write(Dictionary<string, object?> planned, EntraLogin? login)
    {
        derived = login;
        if ((user ?? login?.User) is { } name && !name.Equals(configured.Given("Username") as string, StringComparison.Ordinal))
        {
            planned["Username"] = name;
        }

        if (IgnoresPassword)
        {
            // A keyword that Service Connector's variables give is not set here.
            planned["Password"] = planned["Passfile"] = null;
        }

        // A token is sent over TLS, not over GSS encryption. By default Npgsql 10 tries to use GSS encryption first, and repeats
        // each failed attempt without it: a login error would occur twice, and a time limit would hide its cause.
        if (client is not null && HasGssEncryption && configured.Given(GssEncryption) is null
            && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("PGGSSENCMODE")))
        {
            planned[GssEncryption] = NpgsqlSettings.Typed(GssEncryption, "Disable");
        }

        configured.Write(planned);
    }

    /// <summary>
    /// Throws if the connection could be made without TLS, because of settings that were changed after the plan was made. With
    /// TLS this costs a comparison.
    /// </summary>
    private void CheckTls(NpgsqlConnectionStringBuilder connection)
    {
        if (connection.SslMode < SslMode.Require)
        {
            CheckInsecure(connection);
        }
    }

    /// <summary>A separate method, because its closure would be allocated for each connection.</summary>
    private void CheckInsecure(NpgsqlConnectionStringBuilder connection)
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
            throw NativeError.Create(
                ErrorKind.InsecureTransport,
                $"SSL Mode={connection.SslMode} does not require TLS: the token would be sent unencrypted to {connection.Host}",
                "Use SSL Mode=VerifyFull, or set AllowInsecureTransport if the network is trusted.");
        }
    }
}
