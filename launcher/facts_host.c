/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts_host.c: facts about this host: processor, memory, KVM, display, firmware, ports. */
#include "facts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kvm_probe.h"

enum {
	KVM_LIMIT_MS = 1500,
};
#define PORTS_TRIED 100u

/* The value of the first line "KEY<blanks>: VALUE" in a file of /proc; true when found. */
static bool proc_value(const char *path, const char *key, char **ret_value)
{
	const size_t key_len = strlen(key);
	char *line = NULL;
	size_t line_bytes = 0;
	bool found = false;
	FILE *file = fopen(path, "re");

	while (file && !found && getline(&line, &line_bytes, file) >= 0) {
		char *value = strchr(line, ':');

		if (strncmp(line, key, key_len) != 0 || !value || !strchr(" \t:", line[key_len]))
			continue;
		value += 1 + strspn(value + 1, " \t");
		value[strcspn(value, "\n")] = '\0';
		facts_set_text(ret_value, value);
		found = true;
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* "24105 kB" of /proc/meminfo in bytes; 0 when the line is not there. */
static uint64_t meminfo_bytes(const char *path, const char *key)
{
	char *text = NULL;
	uint64_t bytes = 0;

	if (proc_value(path, key, &text))
		bytes = strtoull(text, NULL, 10) * 1024;
	free(text);
	return bytes;
}

static enum fact_bool io_uring_works(void)
{
	struct io_uring_params params = {0};
	long fd = syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		return FACT_NO;
	close((int)fd);
	return FACT_YES;
}

static enum fact_bool may_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return FACT_NO;
	close(fd);
	return FACT_YES;
}

static uint64_t usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		return (uint64_t)CPU_COUNT(&set);
	return (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
}

static void gather_proc(const char *root, struct facts *facts)
{
	char path[256];

	snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
	proc_value(path, "model name", &facts->host_cpu_model);
	proc_value(path, "flags", &facts->host_cpu_flags);
	snprintf(path, sizeof path, "%s/proc/meminfo", root);
	facts->host_mem_bytes = meminfo_bytes(path, "MemTotal");
	facts->host_mem_free_bytes = meminfo_bytes(path, "MemAvailable");
}

void facts_gather_kvm(struct facts *facts)
{
	struct kvm_result kvm;

	kvm_probe("/dev/kvm", KVM_LIMIT_MS, &kvm);
	facts_set_text(&facts->kvm_verdict, kvm_verdict_name(kvm.verdict));
	facts->kvm_loops_per_s = kvm.loops_per_s;
}

static void set_env(char **field, const char *name)
{
	const char *value = getenv(name);

	facts_set_text(field, value && *value ? value : NULL);
}

void facts_gather_host(const char *root, struct facts *facts)
{
	struct utsname uts;

	if (uname(&uts) == 0)
		facts_set_text(&facts->host_kernel, uts.release);
	gather_proc(root, facts);
	facts->host_cpus = usable_cpus();
	facts->host_io_uring = io_uring_works();
	facts->host_fuse = may_open("/dev/fuse");
	set_env(&facts->host_x11, "DISPLAY");
	set_env(&facts->host_wayland, "WAYLAND_DISPLAY");
	facts->host_terminal = isatty(0) && isatty(1) ? FACT_YES : FACT_NO;
}

static bool port_free(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	const int on = 1;
	bool is_free;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* As QEMU does: a port in TIME_WAIT is free. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	is_free = bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(fd, 1) == 0;
	close(fd);
	return is_free;
}

void facts_gather_port(uint16_t first_port, struct facts *facts)
{
	uint32_t end = (uint32_t)first_port + PORTS_TRIED;

	facts->host_ssh_port = 0;
	for (uint32_t port = first_port; port < end && port <= 65535; port++)
		if (port_free((uint16_t)port)) {
			facts->host_ssh_port = port;
			return;
		}
}

/* Firmware: QEMU's descriptors name files and features; ours is UEFI without secure boot. */

static bool array_has(const json_t *array, const char *word)
{
	size_t i;
	json_t *item;

	json_array_foreach(array, i,
			   item) if (json_is_string(item) &&
				     strcmp(json_string_value(item), word) == 0) return true;
	return false;
}

static bool targets_q35(const json_t *targets)
{
	size_t i;
	json_t *target;

	json_array_foreach(targets, i, target)
	{
		const char *arch = json_string_value(json_object_get(target, "architecture"));

		if (arch && strcmp(arch, "x86_64") == 0 &&
		    array_has(json_object_get(target, "machines"), "pc-q35-*"))
			return true;
	}
	return false;
}

static const char *mapped_file(const json_t *mapping, const char *part)
{
	const json_t *file = json_object_get(mapping, part);
	const char *format = json_string_value(json_object_get(file, "format"));

	if (!format || strcmp(format, "raw") != 0)
		return NULL;
	return json_string_value(json_object_get(file, "filename"));
}

static bool take_descriptor(const char *root, const char *path, struct facts *facts)
{
	json_t *json = json_load_file(path, 0, NULL);
	const json_t *mapping = json_object_get(json, "mapping");
	const json_t *features = json_object_get(json, "features");
	const char *code = mapped_file(mapping, "executable");
	const char *vars = mapped_file(mapping, "nvram-template");
	char code_path[512];
	bool take;

	snprintf(code_path, sizeof code_path, "%s%s", root, code ? code : "");
	take = array_has(json_object_get(json, "interface-types"), "uefi") &&
	       targets_q35(json_object_get(json, "targets")) &&
	       !array_has(features, "requires-smm") && !array_has(features, "secure-boot") &&
	       code && vars && access(code_path, R_OK) == 0;
	if (take) {
		facts_set_text(&facts->firmware_code, code);
		facts_set_text(&facts->firmware_vars, vars);
	}
	json_decref(json);
	return take;
}

static int is_json(const struct dirent *entry)
{
	const size_t len = strlen(entry->d_name);

	return len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* The first that fits, in the order of their names, as the descriptors' rules ask. */
static void take_first(const char *root, const char *folder, struct facts *facts)
{
	struct dirent **entries;
	int count;
	char path[512];

	snprintf(path, sizeof path, "%s%s", root, folder);
	count = scandir(path, &entries, is_json, alphasort);
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s%s/%s", root, folder, entries[i]->d_name);
		if (!facts->firmware_code)
			take_descriptor(root, path, facts);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

void facts_gather_firmware(const char *root, struct facts *facts)
{
	take_first(root, "/etc/qemu/firmware", facts);
	take_first(root, "/usr/local/share/qemu/firmware", facts);
	take_first(root, "/usr/share/qemu/firmware", facts);
}
