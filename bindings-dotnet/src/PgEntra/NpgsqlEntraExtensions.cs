using Npgsql;
using PgEntra.Identity;

namespace PgEntra;

/// <summary>Entra authentication for Npgsql's data sources and connections.</summary>
/// <remarks>
/// <para>
/// <see cref="EntraOptions.User"/> takes precedence, then a user name in the connection string, then <c>PGUSER</c>. Otherwise the
/// user name comes from the token, and is written to <c>ConnectionStringBuilder.Username</c>. Each new connection uses a
/// token that is valid at that time. Without a TLS setting, connections to remote servers use <c>SSL Mode=Require</c>.
/// </para>
/// <para>
/// If a builder is configured more than once, the last call counts: it starts from the settings that the application wrote
/// into the connection string, without the role and the other settings of an earlier call.
/// </para>
/// <para>
/// Npgsql wraps errors that occur while a connection is opened in an <see cref="NpgsqlException"/>, which is transient if a
/// retry may help: <see cref="PgEntraException.Find"/>. <see cref="EntraLoginRetry"/> retries and explains login errors.
/// </para>
/// </remarks>
public static class NpgsqlEntraExtensions
{
    /// <summary>Configures a data source to log in with tokens of a credential.</summary>
    /// <param name="dataSourceBuilder">The builder.</param>
    /// <param name="credential">The credential. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="cancellationToken">Ends the wait for the user name.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="PgEntraException">The user name cannot be determined, or the settings are not valid.</exception>
    public static NpgsqlDataSourceBuilder UseEntraAuthentication(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
#pragma warning disable CS1573 // The other parameters are inherited.
    public static NpgsqlDataSourceBuilder UseEntraAuthentication(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataSourceBuilder);
        var entra = Authentication(dataSourceBuilder.ConnectionStringBuilder, credential, options);
        entra.Configure(cancellationToken);
        return dataSourceBuilder.UsePasswordProvider(entra.PasswordProvider, entra.PasswordProviderAsync);
    }

    /// <summary>Configures a data source to log in with tokens of a credential. No thread is blocked to determine the user name.</summary>
    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    public static Task<NpgsqlDataSourceBuilder> UseEntraAuthenticationAsync(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthenticationAsync(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
    public static async Task<NpgsqlDataSourceBuilder> UseEntraAuthenticationAsync(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataSourceBuilder);
        var entra = Authentication(dataSourceBuilder.ConnectionStringBuilder, credential, options);
        await entra.ConfigureAsync(cancellationToken).ConfigureAwait(false);
        return dataSourceBuilder.UsePasswordProvider(entra.PasswordProvider, entra.PasswordProviderAsync);
    }
#pragma warning restore CS1573

    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    public static NpgsqlSlimDataSourceBuilder UseEntraAuthentication(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, EntraOptions, CancellationToken)"/>
    public static NpgsqlSlimDataSourceBuilder UseEntraAuthentication(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataSourceBuilder);
        var entra = Authentication(dataSourceBuilder.ConnectionStringBuilder, credential, options);
        entra.Configure(cancellationToken);
        return dataSourceBuilder.EnableTransportSecurity().UsePasswordProvider(entra.PasswordProvider, entra.PasswordProviderAsync);
    }

    /// <inheritdoc cref="UseEntraAuthenticationAsync(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    public static Task<NpgsqlSlimDataSourceBuilder> UseEntraAuthenticationAsync(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthenticationAsync(NpgsqlDataSourceBuilder, PgEntraCredential?, EntraOptions, CancellationToken)"/>
    public static async Task<NpgsqlSlimDataSourceBuilder> UseEntraAuthenticationAsync(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataSourceBuilder);
        var entra = Authentication(dataSourceBuilder.ConnectionStringBuilder, credential, options);
        await entra.ConfigureAsync(cancellationToken).ConfigureAwait(false);
        return dataSourceBuilder.EnableTransportSecurity().UsePasswordProvider(entra.PasswordProvider, entra.PasswordProviderAsync);
    }

    /// <summary>Configures a connection that was created from a connection string, without a data source.</summary>
    /// <remarks>
    /// For libraries that take a connection string and offer a hook for the connections that they create. The user name and
    /// the TLS mode are written into the connection string, so call this method before the connection is opened.
    /// </remarks>
    /// <param name="connection">The connection.</param>
    /// <param name="credential">The credential. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="options">The options. They are read once.</param>
    /// <param name="cancellationToken">Ends the wait for the user name.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="PgEntraException">The user name cannot be determined, or the settings are not valid.</exception>
    public static NpgsqlConnection UseEntraAuthentication(
        this NpgsqlConnection connection,
        PgEntraCredential? credential = null,
        EntraOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        var settings = new NpgsqlConnectionStringBuilder(connection.ConnectionString);
        var provider = EntraConnectionString.Configure(settings, credential, options, cancellationToken);
        connection.ConnectionString = settings.ConnectionString;
        if (provider is not null)
        {
#pragma warning disable CS0618 // Npgsql recommends data sources, which these libraries do not use.
            // The current settings, so that a TLS mode that was changed later is checked.
            connection.ProvidePasswordCallback =
                (_, _, _, _) => provider(new NpgsqlConnectionStringBuilder(connection.ConnectionString));
#pragma warning restore CS0618
        }

        return connection;
    }

    private static EntraAuthentication Authentication(
        NpgsqlConnectionStringBuilder settings, PgEntraCredential? credential, EntraOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new(settings, credential, options);
    }
}
