package objects_test

import (
	"encoding/base64"
	"testing"

	"github.com/hallig-cloud/hallig/objects"
)

// The checksums of nothing, as S3 gives them.
func TestChecksumsOfNothing(t *testing.T) {
	for algorithm, want := range map[string]string{
		"CRC32": "AAAAAA==", "CRC32C": "AAAAAA==", "CRC64NVME": "AAAAAAAAAAA=",
		"SHA1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "SHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		"SHA512": "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
		"MD5":    "1B2M2Y8AsgTpgAmY7PhCfg==", "XXHASH64": "70bbN1HY6Zk=", "XXHASH3": "LQaABTjTlMI=", "XXHASH128": "maoG0wFHmNhgAcMkRo1Jfw==",
	} {
		h, err := objects.NewChecksum(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
	}
	if _, err := objects.NewChecksum("CRC33"); err == nil {
		t.Error("an unknown algorithm was taken")
	}
}
