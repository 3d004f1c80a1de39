using Npgsql;
using PgEntra.Identity;

namespace PgEntra;

/// <summary>Entra authentication for Npgsql's data sources.</summary>
/// <remarks>
/// <para>
/// <see cref="EntraOptions.User"/> wins, then a user name in the connection string is kept, and so is <c>PGUSER</c>; without
/// one it is worked out from the token and stands in <c>ConnectionStringBuilder.Username</c> afterwards. Each new connection
/// gets a token that is good at that moment. Without a setting for TLS, connections across the network are made with <c>SSL Mode=Require</c>.
/// </para>
/// <para>
/// If a builder is configured more than once, the last call counts: it starts from what the application wrote into the
/// connection string, without the role and the other settings of an earlier call.
/// </para>
/// <para>
/// What goes wrong while a connection is opened arrives inside of an <see cref="NpgsqlException"/>, which is transient where
/// trying again may help: <see cref="PgEntraException.Find"/>.
/// </para>
/// </remarks>
public static class NpgsqlEntraExtensions
{
    /// <summary>Logs in with tokens of a credential.</summary>
    /// <param name="dataSourceBuilder">The builder.</param>
    /// <param name="credential">Who logs in. Default: <see cref="DefaultAzureCredential"/>.</param>
    /// <param name="cancellationToken">Ends the wait for the user name.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="PgEntraException">The user name cannot be worked out, or the settings are no good.</exception>
    public static NpgsqlDataSourceBuilder UseEntraAuthentication(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    /// <param name="options">The options, read once.</param>
#pragma warning disable CS1573 // The others are inherited.
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

    /// <summary>Logs in with tokens of a credential. The user name is worked out without blocking a thread.</summary>
    /// <inheritdoc cref="UseEntraAuthentication(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    public static Task<NpgsqlDataSourceBuilder> UseEntraAuthenticationAsync(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        PgEntraCredential? credential = null,
        CancellationToken cancellationToken = default) =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthenticationAsync(NpgsqlDataSourceBuilder, PgEntraCredential?, CancellationToken)"/>
    /// <param name="options">The options, read once.</param>
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

    private static EntraAuthentication Authentication(
        NpgsqlConnectionStringBuilder settings, PgEntraCredential? credential, EntraOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new(settings, credential, options);
    }
}
