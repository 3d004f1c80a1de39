using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.Versioning;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.Tests;

/// <summary>
/// The vectors that a credential shows by itself: those of <c>credentials/</c> that send no request, and the errors that the
/// responses in <c>entra-errors.json</c> become.
/// </summary>
public sealed partial class CredentialVectorTests(TokenEndpoint endpoint) : IClassFixture<TokenEndpoint>
{
    private const string Scope = "https://ossrdbms-aad.database.windows.net/.default";

    // A custom credential is an object of a test; CredentialTests has such tests.
    public static TheoryData<string, int, string> Credentials() => Rows(one =>
        one["exchanges"] is not JsonArray { Count: > 0 }
        && !one["credential"]!.ToJsonString().Contains("\"custom_credential\"", StringComparison.Ordinal));

    internal static TheoryData<string, int, string> Rows(Func<JsonNode, bool> wanted)
    {
        var rows = new TheoryData<string, int, string>();
        foreach (var path in Directory.GetFiles(Path.Combine(Emulator.Root, "tests", "vectors", "credentials"), "*.json").Order())
        {
            var file = $"credentials/{Path.GetFileNameWithoutExtension(path)}";
            foreach (var (index, one) in VectorTests.Cases(file, "cases").Index())
            {
                if (wanted(one!))
                {
                    rows.Add(file, index, VectorTests.Text(one!["name"])!);
                }
            }
        }

        return rows;
    }

    public static TheoryData<int, string> Answers() => VectorTests.Rows("entra-errors", "cases");

    // Its tools are shell scripts.
    [UnsupportedOSPlatform("windows")]
    [Theory, MemberData(nameof(Credentials))]
    public void Credential_without_requests_follows_the_vectors(string file, int index, string name)
    {
        var folder = Directory.CreateTempSubdirectory("pgentra-vectors-").FullName;
        try
        {
            var text = VectorTests.Case(file, "cases", index, name).ToJsonString();
            var one = JsonNode.Parse(Place().Replace(text, place => Filled(place, folder)))!;
            var tools = Directory.CreateDirectory(Path.Combine(folder, "bin")).FullName;
            foreach (var (path, content) in one["files"]?.AsObject() ?? [])
            {
                File.WriteAllBytes(Path.Combine(folder, path), Content(content!));
            }

            foreach (var (tool, answer) in one["tools"]?.AsObject() ?? [])
            {
                WriteTool(Path.Combine(tools, tool), answer!);
            }

            var environment = new JsonObject { ["PATH"] = tools };
            foreach (var (variable, value) in one["environment"]?.AsObject() ?? [])
            {
                environment[variable] = value!.DeepClone();
            }

            var document = new JsonObject { ["credential"] = one["credential"]!.DeepClone(), ["environment"] = environment };
            AccessToken Fetch() => CredentialVectorTests.Fetch(document.ToJsonString(), one["request"]);
            if ((one["build_error"] ?? one["error"]) is { } expected)
            {
                CheckError(Assert.ThrowsAny<PgEntraException>(() => Fetch()), expected);
                return;
            }

            var token = Fetch();
            Assert.Equal(VectorTests.Text(one["token"]!["token"]), token.Token);
            if (one["token"]!["expires_on"] is { } end)
            {
                Assert.Equal(end.GetValue<long>(), token.ExpiresOn.ToUnixTimeSeconds());
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory, MemberData(nameof(Answers))]
    public async Task EntraError_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("entra-errors", "cases", index, name);
        var options = new TokenCredentialOptions { AuthorityHost = endpoint.Address, CaFile = endpoint.CaFile, Retry = { MaxRetries = 0 } };
        var credential = new ClientSecretCredential(TokenEndpoint.TenantOf(index), "c1", "Canary&secret=1", options);
        var failure = await Assert.ThrowsAnyAsync<PgEntraException>(
            () => credential.GetTokenAsync(new("https://r/.default"), TestContext.Current.CancellationToken).AsTask());
        CheckError(failure, one["error"]!);
    }

    /// <summary>Returns the token of a document's credential, with the variables of the document only.</summary>
    private static unsafe AccessToken Fetch(string document, JsonNode? request)
    {
        NativeError.Check(Native.CheckConfig(document, out var refused), refused);
        NativeError.Check(Native.OpenCredential(document, null, 0, out var credential, out var error), error);
        using (credential)
        {
            var wanted = new TokenRequest(VectorTests.Text(request?["scope"]) ?? Scope)
            {
                TenantId = VectorTests.Text(request?["tenant_id"]),
                Claims = VectorTests.Text(request?["claims"]),
                IsCaeEnabled = request?["enable_cae"]?.GetValue<bool>() ?? false,
            };
            return new BlockingCall<AccessToken>(Tokens.Read).Run(Tokens.Call(credential, wanted), CancellationToken.None);
        }
    }

    internal static void CheckError(PgEntraException failure, JsonNode expected)
    {
        var detail = JsonNode.Parse(failure.Detail.GetRawText())!;
        Assert.Equal(VectorTests.Text(expected["kind"]), failure.Code);
        Assert.Equal(expected["aadsts"]?.GetValue<int>(), failure.Aadsts);
        foreach (var part in expected["text"]?.AsArray() ?? [])
        {
            Assert.Contains(VectorTests.Text(part)!, failure.Message, StringComparison.Ordinal);
        }

        foreach (var (key, value) in expected["detail"]?.AsObject() ?? [])
        {
            Assert.True(JsonNode.DeepEquals(value, detail[key]), $"{key} is {detail[key]?.ToJsonString()}");
        }

        Assert.Equal(
            expected["attempts"]?.AsArray().Select(attempt => (VectorTests.Text(attempt![0])!, VectorTests.Text(attempt[1])!)) ?? [],
            detail["attempts"]?.AsArray().Select(attempt => (VectorTests.Text(attempt!["credential"]) ?? "", VectorTests.Text(attempt["code"])!)) ?? []);
        Assert.DoesNotContain("canary", failure.ToString() + failure.Detail.GetRawText(), StringComparison.OrdinalIgnoreCase);
    }

    [GeneratedRegex(@"\{dir\}|\{(text|base64):([^}]+)\}")]
    private static partial Regex Place();

    /// <summary>Returns the replacement of a placeholder in a JSON text: the folder, or the content of a certificate's file.</summary>
    private static string Filled(Match place, string folder)
    {
        var name = place.Groups[2].Value;
        return place.Groups[1].Value switch
        {
            "" => folder,
            "base64" => Convert.ToBase64String(Certificate(name)),
            _ => JsonSerializer.Serialize(Encoding.UTF8.GetString(Certificate(name)))[1..^1],
        };
    }

    private static byte[] Content(JsonNode content) => content is JsonValue
        ? Encoding.UTF8.GetBytes(VectorTests.Text(content)!)
        : VectorTests.Text(content["fixture"]) is { } name ? Certificate(name) : new byte[content["zeros"]!.GetValue<int>()];

    private static byte[] Certificate(string name) =>
        File.ReadAllBytes(Path.Combine(Emulator.Root, "tests", "vectors", "certificates", name));

    [UnsupportedOSPlatform("windows")]
    private static void WriteTool(string path, JsonNode answer)
    {
        string Quoted(string stream) =>
            $"'{(VectorTests.Text(answer[stream]) ?? "").Replace("'", @"'\''", StringComparison.Ordinal)}'";
        File.WriteAllText(
            path,
            $"#!/bin/sh\nprintf %s {Quoted("stdout")}\nprintf %s {Quoted("stderr")} >&2\nexit {answer["exit"]?.GetValue<int>() ?? 0}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}

/// <summary>A token endpoint on loopback, with TLS. It returns the response of the case of entra-errors.json that the request's tenant names.</summary>
public sealed class TokenEndpoint : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly X509Certificate2 certificate;

    public TokenEndpoint()
    {
        var now = DateTimeOffset.UtcNow;
        var (from, to) = (now.AddDays(-1), now.AddDays(1));
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=authority of a test", authorityKey, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var authority = request.CreateSelfSigned(from, to);

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        request = new("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        using var issued = request.Create(authority, from, to, [1]);
        certificate = issued.CopyWithPrivateKey(key);

        CaFile = Path.GetTempFileName();
        File.WriteAllText(CaFile, authority.ExportCertificatePem());
        listener.Start();
        _ = AcceptAsync();
    }

    public Uri Address => new($"https://localhost:{((IPEndPoint)listener.LocalEndpoint).Port}");

    public string CaFile { get; }

    public static string TenantOf(int index) => string.Create(CultureInfo.InvariantCulture, $"case-{index}");

    public void Dispose()
    {
        listener.Dispose();
        certificate.Dispose();
        File.Delete(CaFile);
    }

    private static byte[] Bytes(JsonNode response)
    {
        var body = (response["repeated"], response["body"]) switch
        {
            (JsonArray repeated, _) =>
                string.Concat(Enumerable.Repeat(VectorTests.Text(repeated[0])!, repeated[1]!.GetValue<int>())),
            (_, JsonValue text) => VectorTests.Text(text)!,
            (_, { } json) => json.ToJsonString(),
            _ => "",
        };
        var head = new StringBuilder();
        head.Append(CultureInfo.InvariantCulture, $"HTTP/1.1 {response["status"]!.GetValue<int>()} Answer\r\n");
        head.Append(CultureInfo.InvariantCulture, $"content-length: {Encoding.UTF8.GetByteCount(body)}\r\nconnection: close\r\n");
        foreach (var (name, value) in response["headers"]?.AsObject() ?? [])
        {
            head.Append(CultureInfo.InvariantCulture, $"{name}: {VectorTests.Text(value)}\r\n");
        }

        if (response["date_offset"]?.GetValue<int>() is { } offset)
        {
            head.Append(CultureInfo.InvariantCulture, $"date: {DateTimeOffset.UtcNow.AddSeconds(offset):r}\r\n");
        }

        return Encoding.UTF8.GetBytes($"{head}\r\n{body}");
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = AnswerAsync(await listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // The test has ended.
        }
    }

    private async Task AnswerAsync(TcpClient client)
    {
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            using (client)
            {
                await using var stream = new SslStream(client.GetStream());
                await stream.AuthenticateAsServerAsync(new() { ServerCertificate = certificate }, limit.Token);
                using var reader = new StreamReader(stream, Encoding.Latin1, leaveOpen: true);
                // POST /case-7/oauth2/v2.0/token HTTP/1.1
                var tenant = (await reader.ReadLineAsync(limit.Token))?.Split('/')[1] ?? "";
                var length = 0;
                while (await reader.ReadLineAsync(limit.Token) is { Length: > 0 } header)
                {
                    if (header.StartsWith("content-length:", StringComparison.OrdinalIgnoreCase))
                    {
                        length = int.Parse(header.AsSpan("content-length:".Length), CultureInfo.InvariantCulture);
                    }
                }

                _ = await reader.ReadBlockAsync(new char[length], limit.Token);
                var index = int.Parse(tenant.AsSpan("case-".Length), CultureInfo.InvariantCulture);
                await stream.WriteAsync(Bytes(VectorTests.Cases("entra-errors", "cases")[index]!["response"]!), limit.Token);
                await stream.ShutdownAsync();
            }
        }
        catch (Exception failure) when (failure is IOException or AuthenticationException or OperationCanceledException)
        {
            // The client has disconnected, and its test reports the reason.
        }
    }
}
