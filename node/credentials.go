package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// credentialsText is a credentials file: AWS's own format, so that it can be
// used as AWS_SHARED_CREDENTIALS_FILE.
func credentialsText(access, secret string) []byte {
	return []byte("[default]\naws_access_key_id = " + access + "\naws_secret_access_key = " + secret + "\n")
}

// saveCredentials writes the root user's first key.
func (d *dataDir) saveCredentials(access, secret string) error {
	return vfs.WriteFileSync(d.fs, d.file(CredentialsFile), credentialsText(access, secret))
}

// ReadCredentials reads a credentials file that a first start wrote.
func ReadCredentials(name string) (access, secret string, err error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return "", "", fmt.Errorf("read credentials: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			access = strings.TrimSpace(value)
		case "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	if access == "" || secret == "" {
		return "", "", fmt.Errorf("%s holds no credentials: %w", name, hallig.ErrInvalid)
	}
	return access, secret, lines.Err()
}
