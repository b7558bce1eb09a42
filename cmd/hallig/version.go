package main

import (
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the version of this binary.
func (versionCmd) Run(c *cli, std *stdio) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		OS      string `json:"os"`
		Arch    string `json:"arch"`
	}{binaryVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
	return show(c, std, v, func(t *table) { t.line("hallig %s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch) })
}

// binaryVersion is what the build was told, else what the Go tool knows.
func binaryVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
