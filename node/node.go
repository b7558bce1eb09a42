package node

import (
	"context"
	"errors"

	"github.com/hallig-cloud/hallig/admin"
)

// Info is what an operator is told when a node serves.
type Info struct {
	First       bool     `json:"first"` // this start made the store
	S3          string   `json:"s3"`
	Admin       string   `json:"admin"`
	Region      string   `json:"region"`
	Data        string   `json:"data"`
	Drives      []string `json:"drives"`
	KeyFiles    []string `json:"key_files"`
	AccessKey   string   `json:"access_key,omitempty"` // with First
	SecretKey   string   `json:"secret_key,omitempty"` // with First
	Credentials string   `json:"credentials,omitempty"`
	Promise     string   `json:"promise"`
	Safe        bool     `json:"safe"` // the loss of at least one drive is survived
	Locked      bool     `json:"locked"`
}

// Node is one node.
type Node struct{ cfg Config }

// New checks a configuration. Nothing is read or written before Run.
func New(cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg}, nil
}

// Run serves until ctx ends, then drains. started is called once, when
// requests are answered.
func (n *Node) Run(ctx context.Context, started func(Info)) error {
	return errors.New("not built")
}

// RestoreCatalog rebuilds a stopped node's catalog from an export.
func RestoreCatalog(ctx context.Context, cfg Config, file string, force bool) (admin.Export, error) {
	return admin.Export{}, errors.New("not built")
}

// ReadCredentials reads a credentials file.
func ReadCredentials(name string) (access, secret string, err error) {
	return "", "", errors.New("not built")
}
