using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Connection strings with a token, for libraries that take nothing but a connection string.</summary>
/// <remarks>
/// The returned text contains a token, so it is a secret: do not log or store it. It is usable for new connections until the
/// token expires, so request it each time such a library is started. A library that keeps the text for the life of the
/// process, and opens connections later, needs another way: a data source, or a function that creates connections.
/// Npgsql has a pool for each connection string, and so for each token; <c>Pooling=false</c> avoids idle pools.
/// </remarks>
public static class EntraConnectionString
{
    /// <summary>Returns a connection string with the user name, a token as the password, and TLS.</summary>
    /// <param name="connectionString">The connection string, in Npgsql's form.</param>
    /// <param name="credential">The credential. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="options">The options.</param>
    /// <param name="cancellationToken">Ends the wait for the token.</param>
    /// <returns>The connection string. It is a secret.</returns>
    /// <exception cref="PgEntraException">There is no token, or the settings are not valid.</exception>
    public static string Get(
        string connectionString,
        PgEntraCredential? credential = null,
        EntraOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString);
        var entra = Authentication(settings, credential, options);
        entra.Configure(cancellationToken);
        settings.Password = entra.PasswordProvider?.Invoke(settings) ?? settings.Password;
        return settings.ConnectionString;
    }

    /// <summary>Returns a connection string with the user name, a token as the password, and TLS. Blocks no thread.</summary>
    /// <inheritdoc cref="Get"/>
    public static async Task<string> GetAsync(
        string connectionString,
        PgEntraCredential? credential = null,
        EntraOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString);
        var entra = Authentication(settings, credential, options);
        await entra.ConfigureAsync(cancellationToken).ConfigureAwait(false);
        if (entra.PasswordProviderAsync is { } provider)
        {
            settings.Password = await provider(settings, cancellationToken).ConfigureAwait(false);
        }

        return settings.ConnectionString;
    }

    /// <summary>Writes the user name and TLS into settings, and returns the password provider.</summary>
    internal static Func<NpgsqlConnectionStringBuilder, string>? Configure(
        NpgsqlConnectionStringBuilder settings,
        PgEntraCredential? credential,
        EntraOptions? options,
        CancellationToken cancellationToken)
    {
        var entra = Authentication(settings, credential, options);
        entra.Configure(cancellationToken);
        return entra.PasswordProvider;
    }

    /// <summary>Npgsql checks passwords only if it builds a data source: without one it would use the password.</summary>
    private static EntraAuthentication Authentication(
        NpgsqlConnectionStringBuilder settings, PgEntraCredential? credential, EntraOptions? options)
    {
        var entra = new EntraAuthentication(settings, credential, options ?? new());
        return entra.HasPassword || (settings.Passfile is not null && options?.IgnorePassword != true)
            ? throw NativeError.Create(
                ErrorKind.InvalidConnection,
                "the connection string contains a password or a password file, and a credential is to be used",
                "Remove Password and Passfile, or set IgnorePassword if they are placeholders.")
            : entra;
    }
}
