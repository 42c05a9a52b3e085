/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts.c: facts as JSON, views of them, sticks made of mock devices, a host in a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <umockdev.h>
#include <unistd.h>

#include "facts.h"
#include "file.h"
#include "plan_case.h"
#include "tune.h"

/* Sets every field to a value of its own, from the table alone. */
static void fill(struct facts *facts)
{
	char text[64];

	for (size_t i = 0; i < facts_table_len; i++) {
		const struct fact_field *field = &facts_table[i];
		void *at = (char *)facts + field->offset;

		snprintf(text, sizeof text, "text of %s", field->name);
		if (field->type == FACT_TYPE_BOOL)
			*(enum fact_bool *)at = i % 2 ? FACT_YES : FACT_NO;
		else if (field->type == FACT_TYPE_U64)
			*(uint64_t *)at = (UINT64_C(1) << 40) + i;
		else
			facts_set_text(at, text);
	}
}

static void json_round_trip(void **state)
{
	struct facts facts = {0}, again;
	struct err err;
	json_t *json, *json_again;

	(void)state;
	fill(&facts);
	json = facts_to_json(&facts);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(json, "stick"), "speed_mbps")),
		facts.stick_speed_mbps);
	assert_int_equal(facts_from_json(json, &again, &err), 0);
	json_again = facts_to_json(&again);
	assert_true(json_equal(json, json_again));
	assert_string_equal(again.stick_hubs, "text of stick.hubs");
	assert_int_equal(again.host_ssh_port, facts.host_ssh_port);
	json_decref(json);
	json_decref(json_again);
	facts_free(&facts);
	facts_free(&again);
}

/* What is not known is null, and stays so. */
static void json_unknown(void **state)
{
	struct facts facts = {0}, again;
	struct err err;
	json_t *json = facts_to_json(&facts);
	const json_t *usb = json_object_get(json_object_get(json, "stick"), "usb");

	(void)state;
	assert_true(usb && json_is_null(usb));
	assert_int_equal(facts_from_json(json, &again, &err), 0);
	assert_memory_equal(&facts, &again, sizeof facts);
	json_decref(json);
}

static int load(const char *text, struct facts *facts, struct err *err)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
	int rc;

	assert_non_null(json);
	rc = facts_from_json(json, facts, err);
	json_decref(json);
	return rc;
}

static void json_wrong_types(void **state)
{
	struct facts facts = {0};
	struct err err;

	(void)state;
	assert_int_equal(load("[]", &facts, &err), -1);
	assert_int_equal(load("{\"host\": {\"cpus\": \"two\"}}", &facts, &err), -1);
	assert_string_equal(err.text, "facts: host.cpus: must be a number");
	assert_int_equal(load("{\"host\": {\"kernel\": \"6.1\", \"cpus\": -1}}", &facts, &err), -1);
	assert_int_equal(load("{\"stick\": {\"usb\": 1}}", &facts, &err), -1);
	assert_string_equal(err.text, "facts: stick.usb: must be true or false");
	assert_int_equal(load("{\"kvm\": {\"verdict\": true}}", &facts, &err), -1);
	assert_null(facts.host_kernel); /* untouched on failure */
	assert_int_equal(load("{\"future\": {\"x\": 1}, \"host\": 3}", &facts, &err), 0);
}

static void views(void **state)
{
	static const char *const names[] = {"host.cpus", "stick.driver", "host.fuse", NULL};
	struct facts facts = {0}, view;

	(void)state;
	fill(&facts);
	view = facts_view(&facts, names);
	assert_int_equal(view.host_cpus, facts.host_cpus);
	assert_ptr_equal(view.stick_driver, facts.stick_driver);
	assert_int_equal(view.host_fuse, facts.host_fuse);
	view.host_cpus = 0;
	view.stick_driver = NULL;
	view.host_fuse = FACT_UNKNOWN;
	assert_memory_equal(&view, &(struct facts){0}, sizeof view);
	facts_free(&facts);
}

static void words(void **state)
{
	(void)state;
	assert_true(facts_has_word("gtk sdl", "gtk"));
	assert_true(facts_has_word("gtk sdl", "sdl"));
	assert_false(facts_has_word("gtkx sdl", "gtk"));
	assert_false(facts_has_word("avx512f", "avx"));
	assert_false(facts_has_word("", "gtk"));
	assert_false(facts_has_word(NULL, "gtk"));
}

static const char mountinfo[] =
	"22 1 0:21 / /proc rw,relatime - proc proc rw\n"
	"30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
	"44 30 8:17 / /media/me/MY\\040STICK rw,nosuid,nodev shared:7 master:3 - exfat /dev/sdb1 "
	"rw,errors=remount-ro\n"
	"45 30 0:50 / /media/me/MY rw,nosuid - fuseblk /dev/sdc1 rw\n"
	"46 30 0:51 / /mnt rw - tmpfs tmpfs rw\n"
	"47 46 0:52 / /mnt rw,sync - vfat /dev/sdd rw\n"
	"48 30 0:53 / /media rw - tmpfs tmpfs rw\n" /* listed late, yet less deep */
	"broken line\n";

static void mounts(void **state)
{
	struct facts f = {0};

	(void)state;
	assert_true(facts_parse_mountinfo(mountinfo, "/media/me/MY STICK/stickvm", &f));
	assert_string_equal(f.stick_mount_point, "/media/me/MY STICK");
	assert_string_equal(f.stick_fs, "exfat");
	assert_string_equal(f.stick_node, "/dev/sdb1");
	assert_string_equal(f.stick_mount_options, "rw,nosuid,nodev");
	assert_true(facts_parse_mountinfo(mountinfo, "/media/me/MYSELF", &f));
	assert_string_equal(f.stick_fs, "tmpfs");
	assert_true(facts_parse_mountinfo(mountinfo, "/home", &f));
	assert_string_equal(f.stick_fs, "ext4");
	assert_true(facts_parse_mountinfo(mountinfo, "/media/me/MY", &f));
	assert_string_equal(f.stick_node, "/dev/sdc1");
	/* Two on one point: the later one covers. */
	assert_true(facts_parse_mountinfo(mountinfo, "/mnt/x", &f));
	assert_string_equal(f.stick_mount_options, "rw,sync");
	assert_false(facts_parse_mountinfo("junk\n\n", "/mnt", &f));
	assert_false(facts_parse_mountinfo("", "/mnt", &f));
	facts_free(&f);
}

/* Mock sticks. $SPEED and the like differ; the tree is that of a real machine. */
#define ROOT_HUB(bus, speed)                                                                       \
	"P: /devices/pci0000:00/0000:00:14.0/usb" #bus "\n"                                        \
	"E: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nE: DRIVER=usb\n"                                 \
	"A: idVendor=1d6b\nA: idProduct=0003\nA: speed=" #speed "\nA: bDeviceClass=09\n"           \
	"A: product=xHCI Host Controller\n\n"

#define STICK(path, speed, version, power, driver)                                                 \
	"P: " path "\n"                                                                            \
	"E: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nE: DRIVER=usb\n"                                 \
	"A: idVendor=0781\nA: idProduct=5588\nA: speed=" #speed "\nA: version= " version "\n"      \
	"A: bMaxPower=" #power "mA\nA: manufacturer=SanDisk\nA: product= Extreme Pro  \n"          \
	"A: bDeviceClass=00\n\n"                                                                   \
	"P: " path "/x:1.0\n"                                                                      \
	"E: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\nE: DRIVER=" driver "\n"                       \
	"L: driver=../../../bus/usb/drivers/" driver "\n"                                          \
	"A: bInterfaceClass=08\n\n"                                                                \
	"P: " path "/x:1.0/host4/target4:0:0/4:0:0:0\n"                                            \
	"E: SUBSYSTEM=scsi\nE: DEVTYPE=scsi_device\nE: DRIVER=sd\n\n"                              \
	"P: " path "/x:1.0/host4/target4:0:0/4:0:0:0/block/sdb\n"                                  \
	"N: sdb\nE: SUBSYSTEM=block\nE: DEVTYPE=disk\nE: DEVNAME=/dev/sdb\nE: MAJOR=8\n"           \
	"E: MINOR=16\nA: dev=8:16\nA: removable=1\nA: ro=0\nA: size=250000000\n\n"                 \
	"P: " path "/x:1.0/host4/target4:0:0/4:0:0:0/block/sdb/sdb1\n"                             \
	"N: sdb1\nE: SUBSYSTEM=block\nE: DEVTYPE=partition\nE: DEVNAME=/dev/sdb1\nE: MAJOR=8\n"    \
	"E: MINOR=17\nA: dev=8:17\nA: partition=1\n\n"

#define PCI "/devices/pci0000:00/0000:00:14.0"

static struct facts gather(const char *devices)
{
	UMockdevTestbed *testbed = umockdev_testbed_new();
	GError *error = NULL;
	struct facts facts = {0};

	assert_true(umockdev_testbed_add_from_string(testbed, devices, &error));
	facts_gather_usb(makedev(8, 17), &facts);
	g_object_unref(testbed);
	return facts;
}

static void stick_usb2(void **state)
{
	struct facts f =
		gather(ROOT_HUB(1, 480) STICK(PCI "/usb1/1-2", 480, "2.00", 200, "usb-storage"));

	(void)state;
	assert_int_equal(f.stick_usb, FACT_YES);
	assert_int_equal(f.stick_speed_mbps, 480);
	assert_int_equal(f.stick_usb_version, 0x0200);
	assert_string_equal(f.stick_driver, "usb-storage");
	assert_string_equal(f.stick_port, "1-2");
	assert_string_equal(f.stick_hubs, "");
	assert_int_equal(f.stick_power_ma, 200);
	assert_string_equal(f.stick_usb_id, "0781:5588");
	assert_string_equal(f.stick_vendor, "SanDisk");
	assert_string_equal(f.stick_product, "Extreme Pro");
	assert_int_equal(f.stick_removable, FACT_YES);
	assert_string_equal(f.stick_node, "/dev/sdb1");
	facts_free(&f);
}

/* What it could do is more than the link gives. */
static void stick_usb3_in_usb2_port(void **state)
{
	struct facts f =
		gather(ROOT_HUB(1, 480) STICK(PCI "/usb1/1-2", 480, "3.20", 224, "usb-storage"));

	(void)state;
	assert_int_equal(f.stick_speed_mbps, 480);
	assert_int_equal(f.stick_usb_version, 0x0320);
	facts_free(&f);
}

static void stick_uas_behind_hubs(void **state)
{
	struct facts f = gather(ROOT_HUB(
		2, 10000) "P: " PCI "/usb2/2-1\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n"
			  "A: bDeviceClass=09\nA: product=USB3.1 Hub\nA: speed=10000\n\n"
			  "P: " PCI "/usb2/2-1/2-1.4\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n"
			  "A: bDeviceClass=09\nA: speed=5000\n\n" STICK(
				  PCI "/usb2/2-1/2-1.4/2-1.4.1", 5000, "3.10", 896, "uas"));

	(void)state;
	assert_int_equal(f.stick_speed_mbps, 5000);
	assert_string_equal(f.stick_driver, "uas");
	assert_string_equal(f.stick_port, "2-1.4.1");
	assert_string_equal(f.stick_hubs, "USB3.1 Hub > USB hub");
	facts_free(&f);
}

#define HUB(path, name)                                                                            \
	"P: " path "\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nA: bDeviceClass=09\n"               \
	"A: product=" name "\nA: speed=480\n\n"

/* What a run says of the link, for each kind of stick and port. */
struct link_case {
	const char *devices;
	const char *value, *reason;
	enum plan_level level;
};

static const struct link_case links[] = {
	{ROOT_HUB(1, 480) STICK(PCI "/usb1/1-2", 480, "2.00", 200, "usb-storage"), "480 Mbit/s",
	 "0781:5588 usb-storage, port 1-2", PLAN_PLAIN},
	{ROOT_HUB(1, 480) STICK(PCI "/usb1/1-2", 480, "3.10", 224, "usb-storage"), "480 Mbit/s",
	 "the stick can do USB 3 but the link runs at 480 Mbit/s: try another port, cable or hub "
	 "(0781:5588 usb-storage, port 1-2)",
	 PLAN_NOTE},
	{ROOT_HUB(2, 10000) STICK(PCI "/usb2/2-1", 10000, "3.10", 896, "uas"), "10000 Mbit/s",
	 "0781:5588 uas, port 2-1", PLAN_PLAIN},
	/* 3.2 2x2: two lanes of 10 Gbit/s each. */
	{ROOT_HUB(2, 20000) STICK(PCI "/usb2/2-1", 20000, "3.20", 896, "uas"), "20000 Mbit/s",
	 "0781:5588 uas, port 2-1", PLAN_PLAIN},
	/* Two hubs, the second of USB 2: it is what makes the link slow, so it is named. */
	{ROOT_HUB(1, 480) HUB(PCI "/usb1/1-1", "Desk Hub") HUB(PCI "/usb1/1-1/1-1.4", "Keyboard")
		 STICK(PCI "/usb1/1-1/1-1.4/1-1.4.1", 480, "3.20", 896, "usb-storage"),
	 "480 Mbit/s",
	 "the stick can do USB 3 but the link runs at 480 Mbit/s: try another port, cable or hub "
	 "(0781:5588 usb-storage, port 1-1.4.1, behind Desk Hub > Keyboard)",
	 PLAN_NOTE},
};

static void what_is_said_of_links(void **state)
{
	const struct wishes wishes = {0};
	const struct vm vm = plan_case_vm();
	struct plan *plan = calloc(1, sizeof *plan);

	(void)state;
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
		struct facts f = gather(links[i].devices);
		const struct decision *row;

		tune(&f, &vm, &wishes, plan);
		row = plan_find(plan, "stick link");
		assert_non_null(row);
		assert_string_equal(row->value, links[i].value);
		assert_string_equal(row->reason, links[i].reason);
		assert_int_equal(row->level, links[i].level);
		facts_free(&f);
	}
	free(plan);
}

static void not_a_stick(void **state)
{
	struct facts f = gather(
		"P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0\n"
		"E: SUBSYSTEM=scsi\nE: DEVTYPE=scsi_device\n\n"
		"P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda\n"
		"N: sda\nE: SUBSYSTEM=block\nE: DEVTYPE=disk\nE: DEVNAME=/dev/sda\nE: MAJOR=8\n"
		"E: MINOR=17\nA: dev=8:17\nA: removable=0\nA: ro=1\n\n");

	(void)state;
	assert_int_equal(f.stick_usb, FACT_NO);
	assert_int_equal(f.stick_removable, FACT_NO);
	assert_int_equal(f.stick_read_only, FACT_YES);
	assert_int_equal(f.stick_speed_mbps, 0);
	assert_null(f.stick_driver);
	facts_free(&f);
}

static void no_such_device(void **state)
{
	struct facts f = gather(ROOT_HUB(1, 480));

	(void)state;
	assert_memory_equal(&f, &(struct facts){0}, sizeof f);
}

/* A path on this machine's own disk: what can be known of it is. */
static void this_folder(void **state)
{
	struct facts f = {0};

	(void)state;
	facts_gather_stick(".", &f);
	assert_string_equal(f.stick_path, ".");
	assert_non_null(f.stick_mount_point);
	assert_true(f.stick_size_bytes > f.stick_free_bytes);
	assert_int_equal(f.stick_read_only, FACT_NO);
	facts_free(&f);
	facts_gather_stick("/nonexistent/path", &f);
	assert_null(f.stick_mount_point);
	assert_int_equal(f.stick_usb, FACT_UNKNOWN);
	facts_free(&f);
}

/* A host in a folder. */

static void put(const char *root, const char *path, const char *text, mode_t mode)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof full, "%s%s", root, path);
	for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(full, mode), 0);
}

static char *make_root(void)
{
	char *root = strdup("/tmp/stickvm-facts.XXXXXX");

	assert_non_null(mkdtemp(root));
	return root;
}

static void drop_root(char *root)
{
	assert_int_equal(file_remove_tree(root), 0);
	free(root);
}

static void host_in_a_folder(void **state)
{
	char *root = make_root();
	struct facts f = {0};

	(void)state;
	put(root, "/proc/cpuinfo",
	    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Some CPU @ 3: fast\n"
	    "flags\t\t: fpu sse4_2 avx2\nmodel name\t: another\n",
	    0644);
	put(root, "/proc/meminfo",
	    "MemTotal:        8000000 kB\nMemFree:  100 kB\nMemAvailable:    2000000 kB\n", 0644);
	facts_gather_host(root, &f);
	assert_string_equal(f.host_cpu_model, "Some CPU @ 3: fast");
	assert_string_equal(f.host_cpu_flags, "fpu sse4_2 avx2");
	assert_int_equal(f.host_mem_bytes, UINT64_C(8000000) * 1024);
	assert_int_equal(f.host_mem_free_bytes, UINT64_C(2000000) * 1024);
	assert_true(f.host_cpus >= 1);
	assert_null(f.kvm_verdict);
	facts_free(&f);
	drop_root(root);
}

#define DESCRIPTOR(code, machines, features)                                                       \
	"{\"interface-types\": [\"uefi\"], \"mapping\": {\"device\": \"flash\", \"executable\": {" \
	"\"filename\": \"" code "\", \"format\": \"raw\"}, \"nvram-template\": {\"filename\": "    \
	"\"/vars.fd\", \"format\": \"raw\"}}, \"targets\": [{\"architecture\": \"x86_64\", "       \
	"\"machines\": [" machines "]}], \"features\": [" features "]}"

static void firmware(void **state)
{
	static const char folder[] = "/usr/share/qemu/firmware";
	char *root = make_root();
	char path[256];
	struct facts f = {0};

	(void)state;
	facts_gather_firmware(root, &f);
	assert_null(f.firmware_code);
	put(root, "/good.fd", "", 0644);
	put(root, "/secure.fd", "", 0644);
	snprintf(path, sizeof path, "%s/40-secure.json", folder);
	put(root, path, DESCRIPTOR("/secure.fd", "\"pc-q35-*\"", "\"secure-boot\""), 0644);
	snprintf(path, sizeof path, "%s/30-gone.json", folder);
	put(root, path, DESCRIPTOR("/gone.fd", "\"pc-q35-*\"", ""), 0644);
	snprintf(path, sizeof path, "%s/20-microvm.json", folder);
	put(root, path, DESCRIPTOR("/good.fd", "\"microvm\"", ""), 0644);
	snprintf(path, sizeof path, "%s/10-broken.json", folder);
	put(root, path, "{ not JSON", 0644);
	facts_gather_firmware(root, &f);
	assert_null(f.firmware_code);
	snprintf(path, sizeof path, "%s/60-plain.json", folder);
	put(root, path, DESCRIPTOR("/good.fd", "\"pc-i440fx-*\", \"pc-q35-*\"", "\"acpi-s3\""),
	    0644);
	facts_gather_firmware(root, &f);
	assert_string_equal(f.firmware_code, "/good.fd");
	assert_string_equal(f.firmware_vars, "/vars.fd");
	facts_free(&f);
	drop_root(root);
}

/* Programs that answer as a QEMU does, as an old one does, and as none does. */
static void qemus(void **state)
{
	char *root = make_root();
	char path[256];
	struct facts f = {0};

	(void)state;
	put(root, "/new",
	    "#!/bin/sh\ncase \"$*\" in\n"
	    "*--version*) echo 'QEMU emulator version 8.2.1 (v8.2.1)';;\n"
	    "*'display help'*) echo 'qemu: module x not found'; printf 'Types:\\nnone\\ngtk\\n';;\n"
	    "*) echo \"Could not open '/proc/self/no-such-file'\" >&2; exit 1;;\nesac\n",
	    0755);
	put(root, "/old",
	    "#!/bin/sh\ncase \"$*\" in\n*--version*) echo 'QEMU emulator version 5.0.0';;\n"
	    "*) echo \"does not accept value\" >&2; exit 1;;\nesac\n",
	    0755);
	put(root, "/silent", "#!/bin/sh\n", 0755);
	snprintf(path, sizeof path, "%s/new", root);
	facts_gather_qemu(path, &f);
	assert_string_equal(f.qemu_path, path);
	assert_string_equal(f.qemu_version, "8.2.1");
	assert_string_equal(f.qemu_displays, "none gtk");
	assert_int_equal(f.qemu_io_uring, FACT_YES);
	assert_int_equal(f.qemu_sandbox, FACT_YES);
	facts_free(&f);
	snprintf(path, sizeof path, "%s/old", root);
	facts_gather_qemu(path, &f);
	assert_string_equal(f.qemu_version, "5.0.0");
	assert_int_equal(f.qemu_io_uring, FACT_NO);
	assert_int_equal(f.qemu_sandbox, FACT_NO);
	facts_free(&f);
	snprintf(path, sizeof path, "%s/silent", root);
	facts_gather_qemu(path, &f);
	assert_string_equal(f.qemu_path, path);
	assert_null(f.qemu_version);
	facts_free(&f);
	snprintf(path, sizeof path, "%s/none", root);
	facts_gather_qemu(path, &f);
	assert_null(f.qemu_path);
	drop_root(root);
}

static void ports(void **state)
{
	struct facts f = {0};
	uint64_t first;

	(void)state;
	facts_gather_port(20000, &f);
	first = f.host_ssh_port;
	assert_true(first >= 20000 && first < 20100);
	facts_gather_port(65535, &f);
	assert_true(f.host_ssh_port == 65535 || f.host_ssh_port == 0);
}

/* Mock devices need umockdev's library before all others. */
static void preload(char **argv)
{
	const char *preloaded = getenv("LD_PRELOAD");

	if (preloaded && strstr(preloaded, "libumockdev"))
		return;
	setenv("LD_PRELOAD", "libumockdev-preload.so.0", 1);
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
	execv("/proc/self/exe", argv);
	perror("exec");
	exit(1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_round_trip),
		cmocka_unit_test(json_unknown),
		cmocka_unit_test(json_wrong_types),
		cmocka_unit_test(views),
		cmocka_unit_test(words),
		cmocka_unit_test(mounts),
		cmocka_unit_test(stick_usb2),
		cmocka_unit_test(stick_usb3_in_usb2_port),
		cmocka_unit_test(stick_uas_behind_hubs),
		cmocka_unit_test(what_is_said_of_links),
		cmocka_unit_test(not_a_stick),
		cmocka_unit_test(no_such_device),
		cmocka_unit_test(this_folder),
		cmocka_unit_test(host_in_a_folder),
		cmocka_unit_test(firmware),
		cmocka_unit_test(qemus),
		cmocka_unit_test(ports),
	};

	(void)argc;
	preload(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
