using Azure.Core;
using Npgsql;
using PgEntra.AzureCore;
using PgEntra.Identity;

namespace PgEntra;

/// <summary>Entra authentication for Npgsql's data sources with credentials of the Azure SDK.</summary>
/// <remarks>
/// See <see cref="NpgsqlEntraExtensions"/>. These methods are generic, so that a call without a credential, or with
/// <see langword="null"/>, is not ambiguous: it selects those of <see cref="NpgsqlEntraExtensions"/>. If the user name cannot be
/// determined, the credential's own exception is rethrown unchanged.
/// </remarks>
public static class AzureCoreExtensions
{
    /// <summary>Converts a credential of the Azure SDK to one of PgEntra.</summary>
    /// <param name="credential">The credential.</param>
    /// <returns>The credential. Its tokens are cached with the object.</returns>
    public static PgEntraCredential AsPgEntraCredential(this TokenCredential credential)
    {
        ArgumentNullException.ThrowIfNull(credential);
        return credential is PgEntraTokenCredential own ? new OwnCredential(own) : AzureCredential.Of(credential);
    }

    /// <summary>Configures a data source to log in with tokens of a credential.</summary>
    /// <typeparam name="TCredential">The credential's class.</typeparam>
    /// <param name="dataSourceBuilder">The builder.</param>
    /// <param name="credential">The credential; <see langword="null"/> for PgEntra's default chain.</param>
    /// <param name="cancellationToken">Ends the wait for the user name.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="PgEntraException">The user name cannot be determined, or the settings are not valid.</exception>
    public static NpgsqlDataSourceBuilder UseEntraAuthentication<TCredential>(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
#pragma warning disable CS1573 // The other parameters are inherited.
    public static NpgsqlDataSourceBuilder UseEntraAuthentication<TCredential>(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthentication(credential?.AsPgEntraCredential(), options, cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    public static Task<NpgsqlDataSourceBuilder> UseEntraAuthenticationAsync<TCredential>(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
    public static Task<NpgsqlDataSourceBuilder> UseEntraAuthenticationAsync<TCredential>(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential?.AsPgEntraCredential(), options, cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    public static NpgsqlSlimDataSourceBuilder UseEntraAuthentication<TCredential>(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
    public static NpgsqlSlimDataSourceBuilder UseEntraAuthentication<TCredential>(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthentication(credential?.AsPgEntraCredential(), options, cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    public static Task<NpgsqlSlimDataSourceBuilder> UseEntraAuthenticationAsync<TCredential>(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    /// <param name="options">The options. They are read once.</param>
    public static Task<NpgsqlSlimDataSourceBuilder> UseEntraAuthenticationAsync<TCredential>(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential?.AsPgEntraCredential(), options, cancellationToken);
#pragma warning restore CS1573
}
