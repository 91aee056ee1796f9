//go:build tools

// Package etcd names the current etcd that the tests build and run beside Debian's.
package etcd

import _ "go.etcd.io/etcd/server/v3"
