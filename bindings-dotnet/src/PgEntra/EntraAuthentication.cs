using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>One data source's way to log in: what its connection string says itself, and the password provider.</summary>
internal sealed class EntraAuthentication
{
    private const string NoName = "Could not determine username from token claims";

    private readonly NpgsqlConnectionStringBuilder settings;
    private readonly CredentialSource source;
    private readonly EntraOptions options;
    private readonly Doors doors;

    internal EntraAuthentication(
        NpgsqlConnectionStringBuilder settings, CredentialSource source, EntraOptions options)
    {
        (this.settings, this.source, this.options) = (settings, source, options);
        if (options.RequireEntra && !string.IsNullOrEmpty(settings.Password))
        {
            throw Library.Error(
                ErrorKind.InvalidConnection,
                "RequireEntra: the connection string has a password of its own, so Entra would not be used",
                "Remove Password from the connection string.");
        }

        RequireTls();
        var user = options.User ?? Given(settings.Username);
        doors = new(source, options, user, options.Host ?? Given(settings.Host));
        settings.Username = user ?? Given(source.Variable("PGUSER"));
    }

    /// <summary>Whether the role's name has to come from the token. With a password Npgsql will refuse the data source.</summary>
    private bool NeedsUser => Given(settings.Username) is null && settings.Password is null && settings.Passfile is null;

    internal void SetUser(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (!NeedsUser)
        {
            return;
        }

        try
        {
            settings.Username = doors.Login.Get(Limit(settings), cancellationToken).User;
        }
        catch (PgEntraException failure)
        {
            throw Explained(failure);
        }
    }

    internal async Task SetUserAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (!NeedsUser)
        {
            return;
        }

        try
        {
            var login = await doors.Login.GetAsync(Limit(settings), cancellationToken).ConfigureAwait(false);
            settings.Username = login.User;
        }
        catch (PgEntraException failure)
        {
            throw Explained(failure);
        }
    }

    /// <summary>For <c>UsePasswordProvider</c>.</summary>
    internal string Password(NpgsqlConnectionStringBuilder connection)
    {
        CheckTls(connection);
        try
        {
            return doors.Token.Get(Limit(connection), default);
        }
        catch (PgEntraException failure) when (failure.IsTransient)
        {
            throw ToRetry(failure);
        }
    }

    /// <summary>For <c>UsePasswordProvider</c>.</summary>
    internal ValueTask<string> PasswordAsync(NpgsqlConnectionStringBuilder connection, CancellationToken cancellationToken)
    {
        CheckTls(connection);
        var token = doors.Token.GetAsync(Limit(connection), cancellationToken);
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

    private static string? Given(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private void RequireTls()
    {
        if (Instead(settings.SslMode, Hosts(settings)) is "require")
        {
            settings.SslMode = SslMode.Require;
        }
    }

    /// <summary>What was changed after <see cref="RequireTls"/> is found here.</summary>
    private void CheckTls(NpgsqlConnectionStringBuilder connection)
    {
        if (connection.SslMode < SslMode.Require && Instead(connection.SslMode, Hosts(connection)) is not null)
        {
            _ = Instead(SslMode.Disable, Hosts(connection));
        }
    }

    private string? Instead(SslMode mode, string[] hosts)
    {
        var name = mode switch
        {
            SslMode.Disable => "disable",
            SslMode.Allow => "allow",
            SslMode.Prefer => "prefer",
            SslMode.Require => "require",
            SslMode.VerifyCA => "verify-ca",
            _ => "verify-full",
        };
        // Where no host is named yet, it may become any.
        string[] places = hosts.Length == 0 ? ["host.invalid"] : hosts;
        var code = Native.SecureSslMode(
            name, places, (nuint)places.Length, options.AllowInsecureTransport, out var instead, out var error);
        if (code == (int)ErrorKind.InsecureTransport)
        {
            Native.FreeError(error);
            throw Library.Error(
                ErrorKind.InsecureTransport,
                $"the token would cross the network to {string.Join(", ", hosts)} without TLS",
                "Use SSL Mode=VerifyFull, or AllowInsecureTransport for a server you trust on that path.");
        }

        Library.Check(code, error);
        return Marshal.PtrToStringUTF8(instead);
    }

    /// <summary>The names in Npgsql's <c>Host</c>, which lists several with ports of their own.</summary>
    private static string[] Hosts(NpgsqlConnectionStringBuilder connection) => Array.ConvertAll(
        (connection.Host ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries), WithoutPort);

    private static string WithoutPort(string place)
    {
        if (place.StartsWith('['))
        {
            return place[1..].Split(']')[0];
        }

        // More than one colon is an IPv6 address, and a Unix socket's path may have any.
        var colon = place.IndexOf(':', StringComparison.Ordinal);
        return place[0] == '/' || colon < 0 || place.IndexOf(':', colon + 1) >= 0 ? place : place[..colon];
    }
}
