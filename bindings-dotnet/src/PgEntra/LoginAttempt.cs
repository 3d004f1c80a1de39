using Npgsql;

namespace PgEntra;

/// <summary>The last token that the current asynchronous flow used for a login, so that a login error can be related to it.</summary>
/// <remarks>Npgsql does not report login errors to its password provider.</remarks>
internal sealed class LoginAttempt : IDisposable
{
    private static readonly AsyncLocal<LoginAttempt?> Flow = new();
    private static int recording;

    private readonly LoginAttempt? outer = Flow.Value;
    private UsedLogin? login;

    private LoginAttempt()
    {
    }

    /// <summary>The attempt that the current flow records. If no flow of the process records, this costs one comparison.</summary>
    internal static LoginAttempt? Current => recording > 0 ? Flow.Value : null;

    /// <summary>Whether a token was used.</summary>
    internal bool HasLogin => login is not null;

    /// <summary>Starts to record the logins of the current flow.</summary>
    internal static LoginAttempt Begin()
    {
        _ = Interlocked.Increment(ref recording);
        return Flow.Value = new();
    }

    /// <summary>Records a login.</summary>
    /// <param name="client">The client that returned the token.</param>
    /// <param name="role">The role.</param>
    /// <param name="roleSource">Where the role came from.</param>
    /// <param name="token">The token.</param>
    /// <param name="host">The servers, if the connection does not use Azure Service Connector's variables.</param>
    internal void Record(TokenClient client, string role, string? roleSource, string token, string? host) =>
        login = new(client, role, roleSource, token, host);

    /// <summary>Requests a newer token, if it may resolve the error.</summary>
    /// <returns>Whether there is a newer token.</returns>
    internal bool Renew(PostgresException error) =>
        login is not null && LoginErrors.IsRetriable(error) && login.Client.Invalidate(login.Token, default);

    /// <inheritdoc cref="Renew"/>
    internal async Task<bool> RenewAsync(PostgresException error, CancellationToken cancellationToken) =>
        login is not null
        && LoginErrors.IsRetriable(error)
        && await login.Client.InvalidateAsync(login.Token, cancellationToken).ConfigureAwait(false);

    /// <summary>Explains a login error; <see langword="null"/> if it is not one.</summary>
    internal string? Explain(PostgresException error) =>
        login is null ? null : LoginErrors.Explain(error, login.Role, login.RoleSource, login.Token, login.Host);

    public void Dispose()
    {
        Flow.Value = outer;
        _ = Interlocked.Decrement(ref recording);
    }

    // Not a record: its ToString would contain a token.
    private sealed class UsedLogin(TokenClient client, string role, string? roleSource, string token, string? host)
    {
        internal TokenClient Client => client;

        internal string Role => role;

        internal string? RoleSource => roleSource;

        internal string Token => token;

        internal string? Host => host;
    }
}
