using System.Buffers.Text;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.Tests;

/// <summary>
/// The cases of tests/vectors; those of credentials are in <see cref="CredentialVectorTests"/>, and those that only the engine can run
/// in <see cref="EngineVectorTests"/>.
/// </summary>
public sealed class VectorTests
{
    public static TheoryData<int, string> Tokens() => Rows("claims", "tokens");

    /// <summary>The cases with a role. Whitespace around a token is removed when it is decoded, not when it is sent.</summary>
    public static TheoryData<int, string> Named() => Rows(
        "claims", "tokens", one => one["expect"]!["role"] is not null && Joined(one["token"]!) is var token && token == token.Trim());

    public static TheoryData<int, string> Large() => Rows("claims", "large");

    /// <summary>The cases that a C string can contain: it ends at NUL.</summary>
    public static TheoryData<int, string> Rejected() =>
        Rows("claims", "rejected", one => !Joined(one["token"]!).Contains('\0', StringComparison.Ordinal));

    public static TheoryData<int, string> ResourceIds() => Rows("claims", "resource_ids");

    public static TheoryData<int, string> MissingNames() => Rows("claims", "missing_names");

    /// <summary>The cases that a token can represent: there are no tokens of groups.</summary>
    public static TheoryData<int, string> CreateRole() =>
        Rows("claims", "create_role", one => Text(one["type"]) is not "group");

    public static TheoryData<int, string> Clouds() => Rows("clouds", "cases");

    public static TheoryData<int, string> LoginErrors() => Rows("login_errors", "login_errors");

    public static TheoryData<int, string> Explanations() => Rows("login_errors", "explanations");

    public static TheoryData<int, string> Tls() => Rows("tls", "cases");

    /// <summary>The cases that a C string can contain: it ends at NUL.</summary>
    public static TheoryData<int, string> ConnectionStrings() =>
        Rows("connections", "strings", one => !Text(one["text"])!.Contains('\0', StringComparison.Ordinal));

    public static TheoryData<int, string> ConnectionPlans() => Rows("connections", "plans");

    public static TheoryData<int, string> Options() => Rows("options-dotnet", "cases");

    [Theory, MemberData(nameof(Tokens))]
    public void Claims_follow_the_vectors(int index, string name)
    {
        var one = Case("claims", "tokens", index, name);
        var token = Joined(one["token"]!);
        if (one["claims"] is { } claims)
        {
            NativeError.Check(NativeRules.DecodeJwt(token, out var json, out var error), error);
            Assert.True(JsonNode.DeepEquals(claims, JsonNode.Parse(NativeString.Take(json)!)));
        }

        NativeError.Check(NativeRules.DescribeToken(token, out var text, out var failure), failure);
        var told = JsonNode.Parse(NativeString.Take(text)!)!;
        var expected = one["expect"]!;
        Assert.Equal(Text(expected["role"]), Text(told["role"]?["name"]));
        Assert.Equal(Text(expected["source"]), Text(told["role"]?["source"]));
        foreach (var key in new[] { "kind", "oid", "tid", "appid" })
        {
            if (expected[key] is { } value)
            {
                Assert.Equal(Text(value), Text(told["principal"]![key]));
            }
        }

        Assert.Equal(Text(expected["audience"]), Text(told["audience"]));
    }

    [Theory, MemberData(nameof(Named))]
    public void Role_is_the_user_of_the_data_source(int index, string name)
    {
        var one = Case("claims", "tokens", index, name);
        var builder = new NpgsqlDataSourceBuilder("Host=localhost");
        builder.UseEntraAuthentication(
            new StaticTokenCredential(Joined(one["token"]!), DateTimeOffset.UtcNow.AddHours(1)),
            new EntraOptions { ManagementLookup = false });
        Assert.Equal(Text(one["expect"]!["role"]), builder.ConnectionStringBuilder.Username);
    }

    [Theory, MemberData(nameof(Large))]
    public void Token_that_is_long_follows_the_vectors(int index, string name)
    {
        var one = Case("claims", "large", index, name);
        var code = NativeRules.DecodeJwt(Joined(one["token"]!), out var json, out var error);
        if (one["error"] is not null)
        {
            Assert.Equal((int)ErrorKind.TokenDecode, code);
            Native.FreeError(error);
            return;
        }

        NativeError.Check(code, error);
        Assert.Equal(Text(one["role"]), Text(JsonNode.Parse(NativeString.Take(json)!)!["upn"]));
    }

    [Theory, MemberData(nameof(Rejected))]
    public void Token_invalid_is_not_shown_in_the_error(int index, string name)
    {
        var token = Joined(Case("claims", "rejected", index, name)["token"]!);
        var failure = Assert.ThrowsAny<PgEntraException>(() =>
        {
            var code = NativeRules.DecodeJwt(token, out var json, out var error);
            Native.FreeString(json);
            NativeError.Check(code, error);
        });
        Assert.Equal("token_decode", failure.Code);
        Assert.StartsWith("Invalid JWT token format", failure.Message, StringComparison.Ordinal);
        Assert.True(token.Length < 8 || !failure.ToString().Contains(token, StringComparison.Ordinal));
    }

    [Theory, MemberData(nameof(ResourceIds))]
    public void PrincipalName_follows_the_vectors(int index, string name)
    {
        var one = Case("claims", "resource_ids", index, name);
        NativeError.Check(NativeRules.ParsePrincipalName(Text(one["xms_mirid"])!, out var found, out var error), error);
        Assert.Equal(Text(one["parse_principal_name"]), found == 0 ? null : NativeString.Take(found));
    }

    [Theory, MemberData(nameof(MissingNames))]
    public void RoleName_missing_follows_the_vectors(int index, string name)
    {
        var one = Case("claims", "missing_names", index, name);
        var credential = new StaticTokenCredential(TokenOf(one["claims"]!), DateTimeOffset.UtcNow.AddHours(1));
        using var provider = new TokenProvider(
            credential, new EntraOptions { ManagementLookup = one["management_tried"]!.GetValue<bool>() });
        var failure = Assert.ThrowsAny<PgEntraException>(() => provider.Login());
        Assert.Equal("username_extraction", failure.Code);
        CheckParts(one, failure.Message);
    }

    [Theory, MemberData(nameof(CreateRole))]
    public void CreateRole_statement_follows_the_vectors(int index, string name)
    {
        var one = Case("claims", "create_role", index, name);
        var principal = new JsonObject { ["kind"] = Text(one["type"]) is "user" ? "user" : "application", ["oid"] = Text(one["oid"]) };
        Assert.Contains(Text(one["statement"])!, Explain("role_missing", Text(one["role"])!, "user", principal), StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Clouds))]
    public void Cloud_follows_the_vectors(int index, string name)
    {
        var one = Case("clouds", "cases", index, name);
        string? Given(string key) => Text(one["inputs"]![key]);
        var code = NativeRules.ResolveCloud(
            Given("scope_option"),
            Given("host"),
            Given("authority_option"),
            Given("cloud_option"),
            Given("env_authority_host"),
            out var json,
            out var error);
        if (one["error"] is not null)
        {
            Assert.Equal((int)ErrorKind.InvalidConfiguration, code);
            Native.FreeError(error);
            return;
        }

        NativeError.Check(code, error);
        var told = JsonNode.Parse(NativeString.Take(json)!)!;
        foreach (var key in new[] { "cloud", "scope", "management_scope", "authority_host" })
        {
            Assert.Equal(Text(one["expect"]![key]), Text(told[key]));
        }

        foreach (var part in one["expect"]!["warning"]?.AsArray() ?? [])
        {
            Assert.Contains(Text(part)!, Text(told["warning"]), StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(LoginErrors))]
    public void LoginError_follows_the_vectors(int index, string name)
    {
        var one = Case("login_errors", "login_errors", index, name);
        var (state, message) = (Text(one["sqlstate"]), Text(one["message"])!);
        Assert.Equal(Text(one["cause"]), Marshal.PtrToStringUTF8(NativeRules.GetLoginErrorCause(state, message)));
        Assert.Equal(one["retry"]!.GetValue<bool>(), NativeRules.IsRetriable(state, message));
    }

    [Theory, MemberData(nameof(Explanations))]
    public void LoginError_explanation_follows_the_vectors(int index, string name)
    {
        var one = Case("login_errors", "explanations", index, name);
        const string Host = "shop.postgres.database.azure.com";
        var unused = Text(one["unused_connector"])?.Split(", ").ToDictionary(
            variable => variable,
            variable => variable.EndsWith("STRING", StringComparison.Ordinal) ? $"Server={Host};Database=d;User Id=aad_shop;" : "1");
        var told = Explain(
            Text(one["cause"])!,
            Text(one["role"])!,
            Text(one["role_source"])!,
            one["principal"],
            unused is null ? null : Host,
            JsonSerializer.Serialize(unused ?? []));
        CheckParts(one, told);
        Assert.Equal(Text(one["cause"]) is "not_a_login", told.Length == 0);
    }

    [Theory, MemberData(nameof(Tls))]
    public void SslMode_follows_the_vectors(int index, string name)
    {
        var one = Case("tls", "cases", index, name);
        var given = Text(one["sslmode"]);
        var isKnown = one["hosts"] is JsonArray;
        var hosts = isKnown ? one["hosts"]!.AsArray().Select(host => Text(host)!).ToArray() : [];
        var allow = one["allow_insecure"]?.GetValue<bool>() ?? false;

        var request = new JsonObject
        {
            ["arguments"] = new JsonObject { ["host"] = isKnown ? string.Join(',', hosts) : null, ["sslmode"] = given },
            ["variables"] = new JsonObject(),
            ["service_files"] = false,
            ["allow_insecure_transport"] = allow,
            ["unknown_server"] = !isKnown,
        };
        var refused = one["result"] is JsonObject result ? Text(result["error"]) : null;
        if (refused is null)
        {
            Assert.Equal(Text(one["result"]), Text(Plan(request)["sslmode"]));
        }
        else
        {
            Assert.Equal(refused, Assert.ThrowsAny<PgEntraException>(() => Plan(request)).Code);
        }

        // Npgsql has no other modes and no empty one. Without a host the server is not known yet.
        if (ModeOf(given) is not { } mode || (isKnown && hosts.Length == 0) || hosts.Any(host => host.Length == 0 || host.Contains(',', StringComparison.Ordinal)))
        {
            return;
        }

        var builder = new NpgsqlDataSourceBuilder();
        builder.ConnectionStringBuilder.Host = !isKnown ? null
            : string.Join(',', hosts.Select(host => host.Contains(':', StringComparison.Ordinal) && host[0] is not ('/' or '[') ? $"[{host}]" : host));
        builder.ConnectionStringBuilder.SslMode = mode;
        builder.ConnectionStringBuilder.Username = "u";
        void Use() => builder.UseEntraAuthentication(
            new StaticTokenCredential("t"), new EntraOptions { AllowInsecureTransport = allow });
        if (refused is not null)
        {
            Assert.Equal(refused, Assert.ThrowsAny<PgEntraException>(Use).Code);
            return;
        }

        Use();
        Assert.Equal(Text(one["result"]) is "require" ? SslMode.Require : mode, builder.ConnectionStringBuilder.SslMode);
    }

    [Theory, MemberData(nameof(ConnectionStrings))]
    public void ConnectionString_follows_the_vectors(int index, string name)
    {
        var one = Case("connections", "strings", index, name);
        JsonNode Read()
        {
            NativeError.Check(NativeRules.ReadConnection(Text(one["text"])!, Text(one["form"]), out var settings, out var error), error);
            return JsonNode.Parse(NativeString.Take(settings)!)!;
        }

        if (one["error"] is null)
        {
            Assert.True(JsonNode.DeepEquals(one["settings"], Read()), Read().ToJsonString());
            return;
        }

        CheckError(one, Assert.ThrowsAny<PgEntraException>(Read));
    }

    [Theory, MemberData(nameof(ConnectionPlans))]
    public void ConnectionPlan_follows_the_vectors(int index, string name)
    {
        var one = Case("connections", "plans", index, name);
        var folder = Path.Combine(Emulator.Root, "tests", "vectors", "services");
        var request = JsonNode.Parse(one["request"]!.ToJsonString().Replace("{files}", folder, StringComparison.Ordinal))!.AsObject();
        request["repeat_warnings"] = true;
        var expected = one["result"]!.AsObject();
        if (expected["error"] is not null)
        {
            CheckError(expected, Assert.ThrowsAny<PgEntraException>(() => Plan(request)));
            return;
        }

        var plan = Plan(request);
        var warnings = plan["warnings"]!.AsArray().Select(warning => Text(warning)!).ToArray();
        foreach (var (key, value) in expected)
        {
            if (key == "warns")
            {
                var parts = value!.AsArray();
                Assert.Equal(parts.Count, warnings.Length);
                Assert.All(parts.Zip(warnings), pair => Assert.Contains(Text(pair.First)!, pair.Second, StringComparison.Ordinal));
            }
            else
            {
                var wanted = JsonNode.Parse(value?.ToJsonString().Replace("{files}", folder, StringComparison.Ordinal) ?? "null");
                Assert.True(JsonNode.DeepEquals(wanted, plan[key]), $"{key}: {plan[key]?.ToJsonString()}");
            }
        }

        Assert.DoesNotContain("pa55word", string.Concat(warnings), StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Options))]
    public void CredentialOptions_follow_the_vectors(int index, string name)
    {
        var one = Case("options-dotnet", "cases", index, name);
        var type = typeof(PgEntraCredential).Assembly.GetType($"PgEntra.Identity.{Text(one["class"])}", throwOnError: true)!;
        if (one["refused"] is { } refused)
        {
            var failure = Assert.ThrowsAny<PgEntraException>(() => OptionVectors.Make(type, one));
            Assert.Equal("invalid_configuration", failure.Code);
            Assert.Contains($"`{Text(refused)}`", failure.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
            return;
        }

        var source = OptionVectors.Make(type, one).Source;
        Assert.True(JsonNode.DeepEquals(one["document"], JsonNode.Parse(source.Json)!["credential"]), source.Json);
        Assert.Equal(Text(one["ca_file"]), source.CaFile);
        Assert.Equal((one["ignored"]?.AsArray() ?? []).Select(Text).Order(), source.Ignored.Order());
        Assert.True(JsonNode.DeepEquals(
            one["variables"] ?? new JsonObject(),
            JsonSerializer.SerializeToNode(source.Variables ?? [])));
        // The same class with Azure.Core's base class.
        var twin = typeof(AzureCore.PgEntraTokenCredential).Assembly.GetType($"PgEntra.AzureCore.{type.Name}", throwOnError: true)!;
        Assert.True(twin.IsSubclassOf(typeof(Azure.Core.TokenCredential)));
    }

    [Fact]
    public void ErrorKind_has_the_name_of_every_code()
    {
        NativeError.Check(NativeRules.GetErrorKinds(out var json, out var error), error);
        var kinds = JsonNode.Parse(NativeString.Take(json)!)!.AsArray();
        foreach (var kind in kinds)
        {
            var code = Text(kind!["code"])!;
            Assert.Equal(
                code.Replace("_", "", StringComparison.Ordinal),
                ((ErrorKind)kind["number"]!.GetValue<int>()).ToString(),
                ignoreCase: true);
        }

        Assert.Equal(Enum.GetValues<ErrorKind>().Length - 1, kinds.Count);
    }

    internal static JsonNode Read(string file) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(Emulator.Root, "tests", "vectors", file + ".json")))!;

    internal static string? Text(JsonNode? node) => node?.GetValue<string>();

    private static SslMode? ModeOf(string? name) => name switch
    {
        null => SslMode.Prefer,
        "disable" => SslMode.Disable,
        "allow" => SslMode.Allow,
        "prefer" => SslMode.Prefer,
        "require" => SslMode.Require,
        "verify-ca" => SslMode.VerifyCA,
        "verify-full" => SslMode.VerifyFull,
        _ => null,
    };

    private static readonly Dictionary<string, JsonNode> Files = [];

    internal static JsonArray Cases(string file, string group)
    {
        lock (Files)
        {
            if (!Files.TryGetValue(file, out var found))
            {
                Files[file] = found = Read(file);
            }

            return found[group]!.AsArray();
        }
    }

    internal static TheoryData<int, string> Rows(string file, string group, Func<JsonNode, bool>? wanted = null)
    {
        var rows = new TheoryData<int, string>();
        foreach (var (index, one) in Cases(file, group).Index())
        {
            if (wanted?.Invoke(one!) != false)
            {
                rows.Add(index, Text(one!["name"]) ?? Text(one["class"]) ?? "");
            }
        }

        return rows;
    }

    internal static JsonNode Case(string file, string group, int index, string name)
    {
        var one = Cases(file, group)[index]!;
        Assert.Equal(name, Text(one["name"]) ?? Text(one["class"]) ?? "");
        return one;
    }

    /// <summary>Plans a connection without the environment of the process.</summary>
    private static JsonNode Plan(JsonObject request)
    {
        _ = request.TryAdd("environment", new JsonObject());
        NativeError.Check(Native.PlanConnection(request.ToJsonString(), out var plan, out var error), error);
        return JsonNode.Parse(NativeString.Take(plan)!)!;
    }

    private static void CheckError(JsonNode expected, PgEntraException failure)
    {
        Assert.Equal(Text(expected["error"]), failure.Code);
        foreach (var part in expected["contains"]?.AsArray() ?? [])
        {
            Assert.Contains(Text(part)!, failure.Message, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("pa55word", failure.ToString(), StringComparison.Ordinal);
    }

    private static void CheckParts(JsonNode one, string told)
    {
        foreach (var part in one["contains"]!.AsArray())
        {
            Assert.Contains(Text(part)!, told, StringComparison.Ordinal);
        }

        foreach (var part in one["lacks"]?.AsArray() ?? [])
        {
            Assert.DoesNotContain(Text(part)!, told, StringComparison.Ordinal);
        }
    }

    /// <summary>Explains the first login error with a cause, for the principal of a token.</summary>
    private static string Explain(
        string cause, string role, string roleSource, JsonNode? principal, string? host = null, string? environment = null)
    {
        var refusal = Cases("login_errors", "login_errors").First(one => Text(one!["cause"]) == cause)!;
        var token = principal is null ? null : TokenOf(ClaimsOf(principal));
        var code = NativeRules.ExplainLoginError(
            Text(refusal["sqlstate"]), Text(refusal["message"])!, role, roleSource, token, host, environment, out var text, out var error);
        NativeError.Check(code, error);
        return NativeString.Take(text) ?? "";
    }

    /// <summary>Returns the claims of a token of that kind.</summary>
    private static JsonObject ClaimsOf(JsonNode principal)
    {
        const string Providers = "/subscriptions/s/resourcegroups/g/providers";
        var claims = Text(principal["kind"]) switch
        {
            "user" => new JsonObject { ["idtyp"] = "user" },
            "guest" => new JsonObject { ["idtyp"] = "user", ["acct"] = 1 },
            "application" => new JsonObject { ["idtyp"] = "app" },
            "user_assigned_identity" => new JsonObject
            {
                ["xms_mirid"] = $"{Providers}/Microsoft.ManagedIdentity/userAssignedIdentities/app-mi",
            },
            "unknown" => [],
            var kind => throw new NotSupportedException(kind),
        };
        foreach (var key in new[] { "oid", "tid", "appid" })
        {
            if (principal[key] is { } value)
            {
                claims[key] = value.DeepClone();
            }
        }

        return claims;
    }

    private static string TokenOf(JsonNode claims) => $"e30.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(claims.ToJsonString()))}.sig";

    /// <summary>Returns a text, or joins texts and repetitions.</summary>
    private static string Joined(JsonNode token) => token is JsonArray parts
        ? string.Concat(parts.Select(part => part is JsonObject
            ? string.Concat(Enumerable.Repeat(Text(part["repeat"])!, part["times"]!.GetValue<int>()))
            : Text(part)!))
        : Text(token)!;
}

/// <summary>Creates a credential from a case of options-dotnet.json: its constructor's arguments, then its options.</summary>
internal static class OptionVectors
{
    internal static PgEntraCredential Make(Type type, JsonNode one)
    {
        object?[] arguments = [.. one["arguments"]?.AsArray().Select(argument => Argument(argument)) ?? []];
        var constructor = type.GetConstructors().FirstOrDefault(candidate => Fits(candidate, arguments, one["options"] is not null))
            ?? throw new InvalidOperationException($"no constructor of {type.Name} takes that");
        var parameters = constructor.GetParameters();
        var given = new object?[parameters.Length];
        for (var index = 0; index < parameters.Length; index++)
        {
            given[index] = index < arguments.Length ? arguments[index]
                : IsOptions(parameters[index].ParameterType) && one["options"] is JsonObject options
                    ? OptionsOf(parameters[index].ParameterType, options)
                : parameters[index].HasDefaultValue ? parameters[index].DefaultValue
                : throw new InvalidOperationException(parameters[index].Name);
        }

        try
        {
            return (PgEntraCredential)constructor.Invoke(given);
        }
        catch (System.Reflection.TargetInvocationException failure) when (failure.InnerException is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure.InnerException);
            throw;
        }
    }

    private static bool IsOptions(Type type) => type.IsAssignableTo(typeof(TokenCredentialOptions));

    private static bool Fits(System.Reflection.ConstructorInfo constructor, object?[] arguments, bool hasOptions)
    {
        var parameters = constructor.GetParameters();
        return parameters.Length >= arguments.Length
            && arguments.Index().All(one => one.Item is null || parameters[one.Index].ParameterType.IsInstanceOfType(one.Item)
                || Nullable.GetUnderlyingType(parameters[one.Index].ParameterType)?.IsInstanceOfType(one.Item) == true)
            && parameters.Skip(arguments.Length).All(parameter => parameter.HasDefaultValue || (hasOptions && IsOptions(parameter.ParameterType)))
            && (!hasOptions || parameters.Skip(arguments.Length).Any(parameter => IsOptions(parameter.ParameterType)));
    }

    private static object? Argument(JsonNode? argument) => argument switch
    {
        JsonObject id when id["client_id"] is { } value => ManagedIdentityId.FromUserAssignedClientId(VectorTests.Text(value)!),
        JsonObject id when id["object_id"] is { } value => ManagedIdentityId.FromUserAssignedObjectId(VectorTests.Text(value)!),
        JsonObject id when id["resource_id"] is { } value => ManagedIdentityId.FromUserAssignedResourceId(VectorTests.Text(value)!),
        JsonObject id when id["callback"] is { } value => (Func<string>)(() => VectorTests.Text(value)!),
        JsonObject id when id["time"] is { } value => DateTimeOffset.FromUnixTimeSeconds(value.GetValue<long>()),
        JsonObject => ManagedIdentityId.SystemAssigned,
        JsonArray => Array.Empty<PgEntraCredential>(),
        null => null,
        _ when argument.GetValueKind() is JsonValueKind.True or JsonValueKind.False => argument.GetValue<bool>(),
        _ => VectorTests.Text(argument),
    };

    private static object OptionsOf(Type type, JsonObject options)
    {
        var made = Activator.CreateInstance(type)!;
        foreach (var (path, value) in options)
        {
            object holder = made;
            var names = path.Split('.');
            foreach (var outer in names[..^1])
            {
                holder = holder.GetType().GetProperty(outer)!.GetValue(holder)!;
            }

            var property = holder.GetType().GetProperty(names[^1]) ?? throw new InvalidOperationException(path);
            if (property.GetValue(holder) is IList<string> list)
            {
                foreach (var item in value!.AsArray())
                {
                    list.Add(VectorTests.Text(item)!);
                }

                continue;
            }

            var wanted = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
            property.SetValue(holder, wanted switch
            {
                _ when wanted == typeof(Uri) => new Uri(VectorTests.Text(value)!),
                _ when wanted == typeof(TimeSpan) => TimeSpan.FromSeconds(value!.GetValue<double>()),
                _ when wanted == typeof(object) => value!.ToJsonString(),
                _ => value.Deserialize(wanted),
            });
        }

        return made;
    }
}
