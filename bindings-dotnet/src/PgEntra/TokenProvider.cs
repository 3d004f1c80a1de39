using System.Data.Common;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Returns a token and a login for PostgreSQL, for applications that open connections themselves.</summary>
/// <remarks>
/// Call it for each new connection: it returns the cached token. Providers of equal settings share one token. All methods can
/// be called from any thread. They throw <see cref="PgEntraException"/>.
/// </remarks>
public sealed class TokenProvider : IDisposable
{
    private readonly TokenClient client;
    private readonly string? host;

    /// <summary>Creates a provider. This does not request a token.</summary>
    /// <param name="credential">The credential. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="options">The options. They are read once.</param>
    /// <exception cref="PgEntraException">The settings are not valid.</exception>
    public TokenProvider(PgEntraCredential? credential = null, EntraOptions? options = null)
    {
        options ??= new();
        var plan = options.ServiceConnector is null ? null : PlanOf(credential, options);
        host = options.ServiceConnector is null ? options.Host : null;
        client = new(
            credential?.Source ?? plan?.Credential ?? CredentialSource.Default,
            options,
            options.User ?? plan?.User,
            options.Host ?? plan?.Host);
    }

    /// <summary>Returns the statistics of all cached tokens of this process.</summary>
    /// <returns>A list with one item for each token.</returns>
    public static IReadOnlyList<TokenStats> AllStats() => TokenStats.ReadAll();

    /// <summary>Returns a token, the password for PostgreSQL. Blocks only if no token is cached.</summary>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>The token; the same string object as long as the token is the same.</returns>
    public string GetToken(CancellationToken cancellationToken = default) => client.Token.Get(null, cancellationToken);

    /// <summary>Returns a token, the password for PostgreSQL. Blocks no thread.</summary>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>The token; the same string object as long as the token is the same.</returns>
    public ValueTask<string> GetTokenAsync(CancellationToken cancellationToken = default) =>
        client.Token.GetAsync(null, cancellationToken);

    /// <summary>Returns a role name and a token. Blocks only if no token is cached.</summary>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>User and password.</returns>
    public EntraLogin Login(CancellationToken cancellationToken = default) => client.Login.Get(null, cancellationToken);

    /// <summary>Returns a role name and a token. Blocks no thread.</summary>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>User and password.</returns>
    public ValueTask<EntraLogin> LoginAsync(CancellationToken cancellationToken = default) =>
        client.Login.GetAsync(null, cancellationToken);

    /// <summary>Reports that a server refused a login with a token. Blocks until a newer token is fetched.</summary>
    /// <param name="token">The refused token. Default: the current one.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is a newer token, with which the login can be retried once. If not, report the server's error.</returns>
    public bool Invalidate(string? token = null, CancellationToken cancellationToken = default) =>
        client.Invalidate(token, cancellationToken);

    /// <summary>Reports that a server refused a login with a token. Blocks no thread.</summary>
    /// <param name="token">The refused token. Default: the current one.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is a newer token, with which the login can be retried once.</returns>
    public Task<bool> InvalidateAsync(string? token = null, CancellationToken cancellationToken = default) =>
        client.InvalidateAsync(token, cancellationToken);

    /// <summary>Fetches a newer token if a driver's error is a login error that a newer token may resolve.</summary>
    /// <param name="error">The driver's error.</param>
    /// <param name="token">The refused token. Default: the current one.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Whether there is a newer token, with which the login can be retried once.</returns>
    public bool InvalidateAfter(DbException error, string? token = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(error);
        return LoginErrors.IsRetriable(error) && Invalidate(token, cancellationToken);
    }

    /// <summary>Fetches a newer token if a driver's error is a login error that a newer token may resolve. Blocks no thread.</summary>
    /// <inheritdoc cref="InvalidateAfter"/>
    public async Task<bool> InvalidateAfterAsync(
        DbException error, string? token = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(error);
        return LoginErrors.IsRetriable(error) && await InvalidateAsync(token, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Explains a login error: the role and the origin of its name, the token's principal, and what to do.</summary>
    /// <param name="error">The driver's error.</param>
    /// <param name="login">The login that was refused.</param>
    /// <returns>Lines to show below the server's message; <see langword="null"/> if it is not a login error.</returns>
    public string? ExplainLoginError(DbException error, EntraLogin login)
    {
        ArgumentNullException.ThrowIfNull(error);
        ArgumentNullException.ThrowIfNull(login);
        return LoginErrors.Explain(error, login.User, login.UserSource, login.Password, host);
    }

    /// <summary>Returns the provider's statistics. This does not request a token.</summary>
    /// <returns>The statistics.</returns>
    public TokenStats Stats() => client.Stats();

    /// <summary>Ends the waits in progress. The cached token stays available to others.</summary>
    public void Dispose() => client.Close();

    /// <summary>Requests a plan with Service Connector's variables, which give the server, the role and the identity.</summary>
    private static ConnectionPlan PlanOf(PgEntraCredential? credential, EntraOptions options)
    {
        var plan = ConnectionPlan.Make(
            writer =>
            {
                writer.WriteOptional("host", options.Host);
                writer.WriteOptional("user", options.User);
                // The application opens the connection, and sets the mode.
                writer.WriteString("sslmode", "verify-full");
            },
            options,
            credential);
        return plan.UsesEntra
            ? plan
            : throw NativeError.Create(
                ErrorKind.InvalidConnection,
                "Azure Service Connector's variables have a user and a password, so Entra is not used",
                "Use that password, set IgnorePassword, or leave out ServiceConnector.");
    }
}
