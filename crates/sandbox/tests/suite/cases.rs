//! The list of cases: one test for each and each engine.

/// Makes a test of every case; `$engine` is an async function that gives the engine under test.
#[macro_export]
macro_rules! conformance {
    ($engine:path) => {
        $crate::conformance!(@tests $engine; contract:
            a_value_comes_back_as_json,
            arguments_arrive_unchanged,
            a_throw_is_the_tools_failure_with_its_message,
            a_stack_names_the_lines_of_the_tool,
            the_console_is_printed_in_order_with_its_level,
            logs_and_progress_arrive_as_they_happen,
            the_context_says_what_runs,
            every_global_of_the_contract_is_there,
            the_globals_do_what_the_web_says,
            a_dropped_execution_tells_the_code_and_then_ends_it,
        );
        $crate::conformance!(@tests $engine; faults:
            fault_02_memory_loops_are_out_of_memory,
            fault_04_what_does_not_end_is_a_timeout,
            fault_06_a_flood_of_output_is_cut_and_the_result_survives,
            fault_06_a_reader_that_does_not_read_holds_nothing,
            fault_07_the_result_is_bounded_exactly,
            fault_09_one_long_line_is_cut,
            fault_10_odd_characters_are_valid_json,
            fault_13_cpu_time_is_bounded_besides_wall_time,
            fault_16_a_promise_that_cannot_settle_is_a_failure,
            fault_17_recursion_and_huge_strings_are_the_tools_failure,
            fault_19_a_cancelled_call_is_gone,
            fault_33_large_arguments_and_code_go_through,
            fault_41_calls_share_nothing,
            fault_43_there_is_no_way_out,
            fault_69_printed_frames_are_text,
            fault_70_odd_values_have_a_defined_end,
            fault_71_deep_arguments_are_an_answer,
            fault_72_no_bad_end_is_a_success,
            fault_70_replaced_builtins_are_the_codes_own_matter,
            fault_80_random_numbers_differ_between_calls,
        );
    };
    (@tests $engine:path; $group:ident: $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let engine: suite::run::Subject = $engine().await;
                suite::$group::$case(&engine).await;
                engine.shutdown().await;
            }
        )+
    };
}
