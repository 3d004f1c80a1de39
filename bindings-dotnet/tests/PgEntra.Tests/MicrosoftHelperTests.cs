using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using Azure.Core;
using Azure.Identity;
using Npgsql;

namespace PgEntra.Tests;

/// <summary>The behaviour of Microsoft's helper, on which programs rely. Unlike its tests, these do not count calls of the credential.</summary>
public sealed class MicrosoftHelperTests
{
    private const string ConnectionString = "Host=localhost;Database=test;";

    public static TheoryData<string> Malformed() =>
        ["header", "header.", ".payload.signature", "header..signature", "header.payload.", "", "single-part", "part1.part2.part3.part4", "invalid.token"];

    [Theory]
    [InlineData("upn", "test@example.com")]
    [InlineData("preferred_username", "test@example.com")]
    [InlineData("unique_name", "test@example.com")]
    [InlineData("upn", "user+test@domain.com")]
    [InlineData("upn", "用户@domain.com")]
    public async Task Username_comes_from_a_claim(string claim, string user)
    {
        var credential = new Fake(Jwt((claim, user)));
        Assert.Equal(user, Sync(credential).ConnectionStringBuilder.Username);
        Assert.Equal(user, (await Async(new Fake(Jwt((claim, user))))).ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task Username_that_is_long_is_cut_as_the_server_does()
    {
        var user = new string('a', 1000) + "@domain.com";
        Assert.Equal(user[..63], Sync(new Fake(Jwt(("upn", user)))).ConnectionStringBuilder.Username);
        Assert.Equal(user[..63], (await Async(new Fake(Jwt(("upn", user))))).ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task Username_is_the_managed_identity_before_a_upn()
    {
        const string id = "/subscriptions/12345/resourcegroups/mygroup/providers/Microsoft.ManagedIdentity/userAssignedIdentities/my-identity";
        var token = Jwt(("xms_mirid", id), ("upn", "user@example.com"));
        Assert.Equal("my-identity", Sync(new Fake(token)).ConnectionStringBuilder.Username);
        Assert.Equal("my-identity", (await Async(new Fake(token))).ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task Username_that_exists_is_kept_without_a_token_request()
    {
        var credential = new Fake(Jwt(("upn", "test@example.com")));
        var builder = new NpgsqlDataSourceBuilder(ConnectionString + "Username=existing_user;");
        Assert.Same(builder, builder.UseEntraAuthentication(credential));
        Assert.Equal("existing_user", builder.ConnectionStringBuilder.Username);
        Assert.Same(builder, await builder.UseEntraAuthenticationAsync(credential));
        Assert.Equal("existing_user", builder.ConnectionStringBuilder.Username);
        Assert.Equal(0, credential.Calls);
    }

    [Theory, MemberData(nameof(Malformed))]
    public async Task Token_malformed_is_an_error(string token)
    {
        Assert.Equal("Could not determine username from token claims", Assert.ThrowsAny<Exception>(() => Sync(new Fake(token))).Message);
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => Async(new Fake(token)));
        Assert.Equal("Could not determine username from token claims", failure.Message);
        // The cause is the inner exception.
        Assert.IsAssignableFrom<Identity.PgEntraException>(failure.InnerException);
    }

    [Fact]
    public async Task Token_without_a_name_is_an_error()
    {
        var token = Jwt(("sub", "x"));
        Assert.Equal("Could not determine username from token claims", Assert.ThrowsAny<Exception>(() => Sync(new Fake(token))).Message);
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => Async(new Fake(token)));
        Assert.Equal("Could not determine username from token claims", failure.Message);
    }

    [Fact]
    public async Task ManagementToken_gives_the_name()
    {
        var (nameless, named) = (Jwt(("sub", "x")), Jwt(("upn", "fallback@example.com")));
        Assert.Equal("fallback@example.com", Sync(new Fake(nameless, named)).ConnectionStringBuilder.Username);
        Assert.Equal("fallback@example.com", (await Async(new Fake(nameless, named))).ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task CredentialException_is_rethrown()
    {
        var credential = new Fake(new InvalidOperationException("Credential error"));
        Assert.Equal("Credential error", Assert.Throws<InvalidOperationException>(() => Sync(credential)).Message);
        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => Async(new Fake(new InvalidOperationException("Async credential error"))));
        Assert.Equal("Async credential error", failure.Message);
        await Assert.ThrowsAsync<CredentialUnavailableException>(() => Async(new Fake(new CredentialUnavailableException("none here"))));
    }

    [Fact]
    public async Task CancellationToken_cancelled_ends_the_configuration()
    {
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        var credential = new Fake(new OperationCanceledException());
        var builder = new NpgsqlDataSourceBuilder(ConnectionString);
        Assert.ThrowsAny<OperationCanceledException>(() => builder.UseEntraAuthentication(credential, cancelled.Token));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => builder.UseEntraAuthenticationAsync(credential, cancelled.Token));
    }

    [Fact]
    public async Task DataSource_is_built()
    {
        await using var sync = Sync(new Fake(Jwt(("upn", "test@example.com")))).Build();
        await using var async = (await Async(new Fake(Jwt(("upn", "test@example.com"))))).Build();
        Assert.Contains("test@example.com", sync.ConnectionString, StringComparison.Ordinal);
    }

    [Fact]
    public void Password_in_the_connection_string_is_Npgsqls_error()
    {
        var builder = new NpgsqlDataSourceBuilder(ConnectionString + "Password=x");
        var credential = new Fake(Jwt(("upn", "test@example.com")));
        builder.UseEntraAuthentication(credential);
        Assert.Throws<NotSupportedException>(builder.Build);
        Assert.Equal(0, credential.Calls);
    }

    private static NpgsqlDataSourceBuilder Sync(TokenCredential credential)
    {
        var builder = new NpgsqlDataSourceBuilder(ConnectionString);
        return builder.UseEntraAuthentication(credential);
    }

    private static Task<NpgsqlDataSourceBuilder> Async(TokenCredential credential) =>
        new NpgsqlDataSourceBuilder(ConnectionString).UseEntraAuthenticationAsync(credential);

    private static string Jwt(params (string Name, string Value)[] claims)
    {
        static string Part(object value) => Base64Url.EncodeToString(Encoding.UTF8.GetBytes(JsonSerializer.Serialize(value)));
        var payload = claims.ToDictionary(claim => claim.Name, claim => (object)claim.Value);
        payload["iat"] = 1234567890;
        payload["exp"] = 9999999999;
        return $"{Part(new { alg = "RS256", typ = "JWT" })}.{Part(payload)}.fake-signature";
    }

    /// <summary>Returns one response after the other, and repeats the last one.</summary>
    private sealed class Fake(params object[] answers) : TokenCredential
    {
        private int calls;

        public int Calls => calls;

        public override AccessToken GetToken(TokenRequestContext requestContext, CancellationToken cancellationToken) => Next();

        public override ValueTask<AccessToken> GetTokenAsync(TokenRequestContext requestContext, CancellationToken cancellationToken)
        {
            try
            {
                return new(Next());
            }
            catch (Exception failure)
            {
                return ValueTask.FromException<AccessToken>(failure);
            }
        }

        private AccessToken Next() => answers[Math.Min(Interlocked.Increment(ref calls), answers.Length) - 1] switch
        {
            string token => new(token, DateTimeOffset.UtcNow.AddHours(1)),
            Exception failure => throw failure,
            _ => default,
        };
    }
}
