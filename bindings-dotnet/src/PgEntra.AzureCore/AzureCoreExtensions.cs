using Azure.Core;
using Npgsql;
using PgEntra.AzureCore;
using PgEntra.Identity;

namespace PgEntra;

/// <summary>Entra authentication for Npgsql's data sources with credentials of the Azure SDK.</summary>
/// <remarks>
/// As in <see cref="NpgsqlEntraExtensions"/>, which is what a call without a credential, or with a plain
/// <see langword="null"/>, means: these are generic so that such a call is not ambiguous. What the credential itself throws
/// while the user name is worked out is passed on as it is.
/// </remarks>
public static class AzureCoreExtensions
{
    /// <summary>A credential of the Azure SDK, to be passed where PgEntra takes one of its own.</summary>
    /// <param name="credential">The credential.</param>
    /// <returns>The same; its tokens are cached with the object.</returns>
    public static PgEntraCredential AsPgEntraCredential(this TokenCredential credential)
    {
        ArgumentNullException.ThrowIfNull(credential);
        return credential is PgEntraTokenCredential own ? new OwnCredential(own) : AzureCredential.Of(credential);
    }

    /// <summary>Logs in with tokens of a credential.</summary>
    /// <typeparam name="TCredential">The credential's class.</typeparam>
    /// <param name="dataSourceBuilder">The builder.</param>
    /// <param name="credential">Who logs in; <see langword="null"/>: PgEntra's default chain.</param>
    /// <param name="cancellationToken">Ends the wait for the user name.</param>
    /// <returns>The builder.</returns>
    /// <exception cref="PgEntraException">The user name cannot be worked out, or the settings are no good.</exception>
    public static NpgsqlDataSourceBuilder UseEntraAuthentication<TCredential>(
        this NpgsqlDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthentication(credential, new EntraOptions(), cancellationToken);

    /// <inheritdoc cref="UseEntraAuthentication{TCredential}(NpgsqlDataSourceBuilder, TCredential, CancellationToken)"/>
    /// <param name="options">The options, read once.</param>
#pragma warning disable CS1573 // The others are inherited.
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
    /// <param name="options">The options, read once.</param>
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
    /// <param name="options">The options, read once.</param>
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
    /// <param name="options">The options, read once.</param>
    public static Task<NpgsqlSlimDataSourceBuilder> UseEntraAuthenticationAsync<TCredential>(
        this NpgsqlSlimDataSourceBuilder dataSourceBuilder,
        TCredential? credential,
        EntraOptions options,
        CancellationToken cancellationToken = default)
        where TCredential : TokenCredential =>
        dataSourceBuilder.UseEntraAuthenticationAsync(credential?.AsPgEntraCredential(), options, cancellationToken);
#pragma warning restore CS1573
}
