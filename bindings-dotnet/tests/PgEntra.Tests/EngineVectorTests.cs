using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using PgEntra.Interop;

namespace PgEntra.Tests;

/// <summary>
/// Rules that the public API does not show: clocks, and requests. The tests use a library that is built with the feature
/// <c>testing</c>, which runs these cases of tests/vectors.
/// </summary>
public sealed partial class EngineVectorTests
{
    public static TheoryData<int, string> Timing() => VectorTests.Rows("timing", "cases");

    public static TheoryData<int, string> RefreshPoints() => VectorTests.Rows("timing", "refresh_points");

    public static TheoryData<int, string> ResourceIds() => VectorTests.Rows("claims", "resource_ids");

    public static TheoryData<int, string> CreateRole() => VectorTests.Rows("claims", "create_role");

    public static TheoryData<int, string> Resources() => VectorTests.Rows("clouds", "resources");

    public static TheoryData<string, int, string> Credentials() => CredentialVectorTests.Rows(_ => true);

    [Theory, MemberData(nameof(Timing))]
    public void RefreshState_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("timing", "cases", index, name);
        Equal(new JsonArray([.. one["steps"]!.AsArray().Select(step => step!["expect"]?.DeepClone())]), Run("timing", one));
    }

    [Theory, MemberData(nameof(RefreshPoints))]
    public void RefreshPoint_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("timing", "refresh_points", index, name);
        Equal(new JsonObject { ["from"] = one["from"]!.DeepClone(), ["to"] = one["to"]!.DeepClone() }, Run("refresh_points", one));
    }

    [Theory, MemberData(nameof(ResourceIds))]
    public void ResourceId_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("claims", "resource_ids", index, name);
        Equal(one["identity_name"], Run("resource_ids", one));
    }

    [Theory, MemberData(nameof(CreateRole))]
    public void CreateRole_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("claims", "create_role", index, name);
        Equal(one["statement"], Run("create_role", one));
    }

    [Theory, MemberData(nameof(Resources))]
    public void Scope_follows_the_vectors(int index, string name)
    {
        var one = VectorTests.Case("clouds", "resources", index, name);
        Equal(one["resource"], Run("resources", one));
    }

    [Theory, MemberData(nameof(Credentials))]
    public void Credential_requests_follow_the_vectors(string file, int index, string name)
    {
        var folder = Directory.CreateTempSubdirectory("pgentra-vectors-").FullName;
        try
        {
            var text = VectorTests.Case(file, "cases", index, name).ToJsonString().Replace("{dir}", folder, StringComparison.Ordinal);
            var one = JsonNode.Parse(text)!;
            if ((one["build_error"] ?? one["error"]) is { } expected)
            {
                CredentialVectorTests.CheckError(
                    Assert.ThrowsAny<PgEntra.Identity.PgEntraException>(() => Run("credentials", one, folder)), expected);
                return;
            }

            var token = Run("credentials", one, folder)!;
            foreach (var (key, value) in one["token"]!.AsObject())
            {
                Equal(value, token[key]);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static JsonNode? Run(string group, JsonNode one, string folder = "")
    {
        NativeError.Check(RunVector(group, one.ToJsonString(), folder, out var outcome, out var error), error);
        return JsonNode.Parse(NativeString.Take(outcome)!);
    }

    private static void Equal(JsonNode? expected, JsonNode? found) =>
        Assert.True(JsonNode.DeepEquals(expected, found), $"{found?.ToJsonString()} is not {expected?.ToJsonString()}");

    [LibraryImport("pgentra", EntryPoint = "pgentra_run_vector", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RunVector(string group, string one, string directory, out nint outcome, out nint error);
}
